"""MovieLens folders become items and interactions, or an error that says what to change."""

import re
from pathlib import Path

import pytest

from shared.datasets import DatasetError, open_dataset, read_movielens
from shared.datasets.movielens import natural_title

REAL = Path(__file__).parents[4] / "shared" / "data" / "ml-latest-small"
MOVIES = """movieId,title,genres
1,Toy Story (1995),Adventure|Animation
2,"Matrix, The (1999)",Action|Sci-Fi
3,Untitled Thing,(no genres listed)
"""
RATINGS = """userId,movieId,rating,timestamp
7,2,4.0,1000
7,1,2.0,900
8,3,3.5,1000
"""


def folder(path: Path, movies: str = MOVIES, ratings: str = RATINGS, tags: str | None = None) -> Path:
    (path / "movies.csv").write_text(movies, encoding="utf-8")
    (path / "ratings.csv").write_text(ratings, encoding="utf-8")
    if tags is not None:
        (path / "tags.csv").write_text(tags, encoding="utf-8")
    return path


def test_ratings_become_likes_dislikes_and_views_in_time_order(tmp_path: Path) -> None:
    data = read_movielens(folder(tmp_path))
    assert [(e.event_id, e.action, e.time, e.value) for e in data.interactions] == [
        ("ml-7-1-dislike-900", "dislike", 900.0, 2.0),
        ("ml-7-2-like-1000", "like", 1000.0, 4.0),
        ("ml-8-3-view-1000", "view", 1000.0, 3.5),
    ]
    assert (data.source, data.now, data.impressions, data.dropped) == ("movielens", 1001.0, (), {})


def test_films_have_a_natural_title_one_category_all_genres_as_tags_and_their_year(tmp_path: Path) -> None:
    toy, matrix, untitled = read_movielens(folder(tmp_path)).items
    assert (toy.category, toy.tags, toy.domain) == ("Adventure", ("Adventure", "Animation"), "video")
    assert (matrix.title, matrix.published_at) == ("The Matrix (1999)", 915148800.0)
    assert (untitled.category, untitled.tags, untitled.published_at) == ("", (), None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("American President, The (1995)", "The American President (1995)"),
        ("Beautiful Mind, A (2001)", "A Beautiful Mind (2001)"),
        ("Affair to Remember, An (1957)", "An Affair to Remember (1957)"),
        ("Strada, La (1954)", "La Strada (1954)"),
        ("Misérables, Les (1995)", "Les Misérables (1995)"),
        ("Avventura, L' (Adventure, The) (1960)", "L'Avventura (The Adventure) (1960)"),
        ("Boot, Das (Boat, The) (1981)", "Das Boot (The Boat) (1981)"),
        ("City of Lost Children, The (Cité des enfants perdus, La) (1995)",
         "The City of Lost Children (La Cité des enfants perdus) (1995)"),
        ("Crow, The: Salvation (2000)", "The Crow: Salvation (2000)"),
        ("Mariachi, El (1992) ", "El Mariachi (1992)"),
        ("Tinker, Tailor, Soldier, Spy (1979)", "Tinker, Tailor, Soldier, Spy (1979)"),
        ("Fawlty Towers (1975-1979)", "Fawlty Towers (1975-1979)"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey (1968)"),
        ("Die Hard", "Die Hard"),
    ],
)  # fmt: skip
def test_articles_stand_in_front(written: str, read: str) -> None:
    assert natural_title(written) == read


def test_user_tags_follow_the_genres_by_frequency_up_to_the_cut(tmp_path: Path) -> None:
    tags = "userId,movieId,tag,timestamp\n"
    tags += "7,1,Pixar,10\n8,1,pixar,20\n8,1,a toy,30\n8,1,animation,30\n9,1,late,90\n"
    place = folder(tmp_path, tags=tags)
    assert read_movielens(place).items[0].tags == ("Adventure", "Animation", "pixar", "a toy", "late")
    assert read_movielens(place, user_tags_before=30).items[0].tags == ("Adventure", "Animation", "pixar")


def test_quoted_fields_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    tags = 'userId,movieId,tag,timestamp\n7,1,"two\nlines, ""quoted""",10\n'
    assert read_movielens(folder(tmp_path, tags=tags)).items[0].tags[-1] == 'two\nlines, "quoted"'


def test_unknown_films_empty_titles_and_repeats_are_dropped_and_counted(tmp_path: Path) -> None:
    movies = MOVIES + "4,,Drama\n1,Again,Drama\n"
    ratings = RATINGS + "7,4,5,10\n7,99,5,10\n7,2,4.0,1000\n"
    data = read_movielens(folder(tmp_path, movies, ratings))
    assert data.dropped == {
        "film without title": 1,
        "film listed twice": 1,
        "rating of unknown film": 2,
        "rating listed twice": 1,
    }
    assert (len(data.items), len(data.interactions)) == (3, 3)


@pytest.mark.parametrize(
    ("movies", "ratings", "message"),
    [
        ("id,title,genres\n", RATINGS, r"movies.csv:1: the header is 'id,title,genres'; make the first line"),
        ("", RATINGS, r"movies.csv:1: the header is ''"),
        (MOVIES + "4,Heat (1995)\n", RATINGS, r"movies.csv:5: 2 columns; write the 3 columns"),
        (MOVIES + ",Heat (1995),Crime\n", RATINGS, r"movies.csv:5: movieId is empty"),
        (MOVIES + '4,"Heat" x,Crime\n', RATINGS, r"movies.csv:5: not a CSV row"),
        (MOVIES, "userId,movieId,rating\n", r"ratings.csv:1: the header"),
        (MOVIES, RATINGS + "7,1,good,5\n", r"ratings.csv:5: rating is 'good'; write a finite number"),
        (MOVIES, RATINGS + "7,1,nan,5\n", r"ratings.csv:5: rating is 'nan'"),
        (MOVIES, RATINGS + "7,1,4.0,yesterday\n", r"ratings.csv:5: timestamp is 'yesterday'"),
        (MOVIES, RATINGS + "7,1,4.0,1700000000000\n", r"ratings.csv:5: timestamp is .*; write unix seconds"),
        (MOVIES, RATINGS + "\n,1,4.0,5\n", r"ratings.csv:6: userId is empty"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_line_and_remedy(
    tmp_path: Path, movies: str, ratings: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_movielens(folder(tmp_path, movies, ratings))


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "movies.csv").write_bytes(MOVIES.encode() + "4,Amélie (2001),Comedy\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"movies.csv:\d+: not UTF-8"):
        read_movielens(place)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"movies.csv: cannot be read"):
        read_movielens(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real MovieLens folder is not at {REAL}")
def test_the_real_folder_is_read_whole_and_wins_over_the_json_lines_beside_it() -> None:
    data = open_dataset(REAL)
    assert data.source == "movielens"
    assert (len(data.items), len(data.interactions)) == (9742, 100_836)
    assert len({event.event_id for event in data.interactions}) == 100_836
    titles = {item.item_id: item.title for item in data.items}
    assert titles["2571"] == "The Matrix (1999)"
    assert not [title for title in titles.values() if re.search(r", (The|An?|L[ae]s?)( \(|:|$)", title)]
