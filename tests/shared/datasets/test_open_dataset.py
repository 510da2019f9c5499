"""A folder's files tell its format; an unknown folder says what was looked for and found."""

from pathlib import Path

import pytest

from shared.datasets import DatasetError, open_dataset


def write(path: Path, **files: str) -> None:
    for name, text in files.items():
        (path / name.replace("_", ".")).write_text(text, encoding="utf-8")


def test_movielens_wins_over_json_lines_in_the_same_folder(tmp_path: Path) -> None:
    write(tmp_path, items_jsonl='{"item_id": "a", "title": "T"}\n')
    assert open_dataset(tmp_path).source == "jsonlines"
    write(
        tmp_path,
        movies_csv="movieId,title,genres\n1,T,Drama\n",
        ratings_csv="userId,movieId,rating,timestamp\n",
    )
    data = open_dataset(tmp_path)
    assert (data.source, data.name, len(data.items), data.now) == ("movielens", tmp_path.name, 1, 0.0)


def test_mind_is_known_by_its_two_files(tmp_path: Path) -> None:
    write(tmp_path, news_tsv="N1\tc\ts\tT\t\t\t\t\n", behaviors_tsv="")
    assert open_dataset(tmp_path).source == "mind"


def test_an_unknown_folder_lists_what_was_looked_for_and_found(tmp_path: Path) -> None:
    write(tmp_path, movies_csv="", notes_txt="")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path)
    for part in ("ratings.csv", "behaviors.tsv", "items.jsonl", "found movies.csv, notes.txt, photos/"):
        assert part in str(error.value)


def test_an_empty_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found nothing"):
        open_dataset(tmp_path)
    write(tmp_path, movies_csv="")
    with pytest.raises(DatasetError, match="not a folder"):
        open_dataset(tmp_path / "movies.csv")
