"""Ratings become slates: likes among what was left alone, with nothing of the measured time in what is learnt from."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import corpus_of, open_corpus
from services.trainer.corpus import Corpus, Example
from services.trainer.rating_slates import NegativeSampler
from shared.datasets import Dataset, DatasetError, Interaction, Item
from tests.trainer.data_folders import jsonlines_folder, movielens_folder, slate

REAL = Path(__file__).parents[3] / "shared" / "data" / "ml-latest-small"
FILMS = 80
LONG_AGO = [("a", "1", 5.0, 10), ("a", "2", 1.0, 20), ("a", "3", 3.0, 30), ("a", "4", 4.0, 40), ("b", "1", 4.0, 50)]


def chosen(corpus: Corpus, example: Example) -> str:
    (row,) = example.candidates[example.labels[:, 0] == 1]
    return corpus.items[row].item_id


def negatives(corpus: Corpus, example: Example) -> set[str]:
    return {corpus.items[row].item_id for row in example.candidates[example.labels[:, 0] == 0]}


def many_ratings(users: int = 12, each: int = 20) -> list[tuple[str, str, float, int]]:
    """Ratings 1 s apart, users in turn; every second one is a like, and film "1" is everybody's."""
    rng = np.random.default_rng(5)
    ratings = []
    for user in range(users):
        films = [1, *(2 + rng.permutation(FILMS - 1)[: each - 1])]
        ratings += [(f"u{user}", str(film), 5.0 - 2 * (n % 2), n * users + user) for n, film in enumerate(films)]
    return ratings


def test_every_like_of_the_training_time_is_a_slate_with_the_users_past_before_it(tmp_path: Path) -> None:
    folder = movielens_folder(tmp_path, LONG_AGO)
    corpus = open_corpus(folder, CorpusOptions(valid_share=0, test_share=0))
    assert corpus.actions == ("like",)
    told = [
        (
            example.user,
            chosen(corpus, example),
            [(corpus.items[p.item].item_id, p.action, p.time) for p in example.history],
        )
        for example in corpus.splits["train"]
    ]
    assert told == [
        ("a", "1", []),
        ("a", "4", [("3", "view", 30.0), ("2", "dislike", 20.0), ("1", "like", 10.0)]),
        ("b", "1", []),
    ]
    assert [event.action for event in corpus.events] == ["like", "dislike", "view", "like", "like"]


def test_negatives_are_different_films_that_the_user_never_touched(tmp_path: Path) -> None:
    ratings = many_ratings()
    corpus = open_corpus(movielens_folder(tmp_path, ratings), CorpusOptions(valid_share=0, test_share=0, negatives=7))
    touched = {user: {film for who, film, _, _ in ratings if who == user} for user in {rating[0] for rating in ratings}}
    for example in corpus.splits["train"]:
        assert len(set(example.candidates.tolist())) == 8
        assert not negatives(corpus, example) & touched[example.user]


def test_what_is_rated_later_does_not_show_in_training_slates(tmp_path: Path) -> None:
    """A film that is never a negative of the users who rate it later would tell the model what they will rate."""
    ratings = many_ratings()
    corpus = open_corpus(movielens_folder(tmp_path, ratings), CorpusOptions(negatives=60))
    first = min(example.time or 0.0 for name in ("valid", "test") for example in corpus.splits[name])
    later = {(user, film) for user, film, _, time in ratings if time >= first}
    drawn = {(example.user, film) for example in corpus.splits["train"] for film in negatives(corpus, example)}
    assert later & drawn


def test_periods_are_cut_by_time_and_measured_in_two_flavours(tmp_path: Path) -> None:
    corpus = open_corpus(movielens_folder(tmp_path, many_ratings()), CorpusOptions())
    names = ["train", "valid-uniform", "valid-popular", "valid", "test-uniform", "test-popular", "test"]
    assert list(corpus.splits) == names
    # 240 ratings, a second apart: 192 to learn from, 24 to choose by, 24 to report.
    periods = {"train": (0, 191), "valid": (192, 215), "test": (216, 239)}
    for name, examples in corpus.splits.items():
        first, last = periods[name.partition("-")[0]]
        assert examples, name
        assert all(first <= (example.time or 0) <= last for example in examples), name
    for split in ("valid", "test"):
        both = Counter(example.impression_id for example in corpus.splits[split])
        assert both == Counter(
            example.impression_id
            for flavour in ("uniform", "popular")
            for example in corpus.splits[f"{split}-{flavour}"]
        )
        assert max(both.values()) == 1
    assert (len(corpus.events), corpus.events[-1].time) == (192, 191.0)


def test_a_measured_like_stands_among_50_and_at_no_certain_place(tmp_path: Path) -> None:
    corpus = open_corpus(movielens_folder(tmp_path, many_ratings()), CorpusOptions())
    examples = corpus.splits["valid-uniform"]
    assert {len(example.candidates) for example in examples} == {51}
    assert len({int(np.argmax(example.labels[:, 0])) for example in examples}) > 1


def test_popular_negatives_follow_how_often_films_were_rated_in_training(tmp_path: Path) -> None:
    ratings = many_ratings()
    corpus = open_corpus(movielens_folder(tmp_path, ratings), CorpusOptions())
    rated = {event.item for event in corpus.events}
    for example in corpus.splits["valid-popular"]:
        assert set(example.candidates[example.labels[:, 0] == 0].tolist()) <= rated


def test_of_one_user_at_most_15_likes_are_measured_and_none_without_a_past(tmp_path: Path) -> None:
    ratings = [("old", str(film), 5.0, film) for film in range(1, 41)]
    ratings += [("new", "1", 5.0, 100), ("new", "2", 5.0, 101)]
    corpus = open_corpus(movielens_folder(tmp_path, ratings), CorpusOptions(valid_share=0, test_share=0.8))
    users = Counter(example.user for example in corpus.splits["test-uniform"])
    assert users == {"old": 15, "new": 1}
    assert len(corpus.splits["train"]) == 8


def test_a_like_with_nothing_to_rank_it_against_is_dropped_and_counted(tmp_path: Path) -> None:
    folder = movielens_folder(tmp_path, [("a", "1", 5.0, 10), ("a", "2", 1.0, 20)], films=2)
    corpus = open_corpus(folder, CorpusOptions(valid_share=0, test_share=0))
    assert (corpus.splits["train"], corpus.dropped) == ((), {"like with nothing to rank it against": 1})


def test_the_seed_and_nothing_else_decides_what_is_drawn(tmp_path: Path) -> None:
    folder = movielens_folder(tmp_path, many_ratings())
    first, again = open_corpus(folder, CorpusOptions(seed=1)), open_corpus(folder, CorpusOptions(seed=1))
    other = open_corpus(folder, CorpusOptions(seed=2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    for split in first.splits:
        for one, two in zip(first.splits[split], again.splits[split], strict=True):
            assert one.candidates.tolist() == two.candidates.tolist()


def test_few_shot_rows_count_training_slates_by_time(tmp_path: Path) -> None:
    options = CorpusOptions(valid_share=0, test_share=0)
    folder = movielens_folder(tmp_path, LONG_AGO)
    corpus = open_corpus(folder, replace(options, train_rows=(2, 1)))
    assert [(e.user, chosen(corpus, e)) for e in corpus.splits["train"]] == [("a", "4"), ("b", "1")]
    alone = open_corpus(folder, replace(options, train_rows=(2,)))
    assert [(event.user, event.action) for event in alone.events] == [("b", "like")]
    with pytest.raises(DatasetError, match="row 3, but train has rows 0 to 2"):
        open_corpus(folder, replace(options, train_rows=(3,)))


def fixed_test_folder(folder: Path) -> Path:
    """Ratings at 5 to 90 s beside test slates whose earliest is at 50 s."""
    ratings = [("b", "60", 3.0, 5)] + [("a", str(film), 5.0, film * 10) for film in range(1, 10)]
    movielens_folder(folder, ratings)
    (folder / "tags.csv").write_text(
        "userId,movieId,tag,timestamp\na,1,early,39\na,1,later,40\n"  # validation begins at 40
    )
    jsonlines_folder(
        folder,
        [str(number) for number in range(1, FILMS + 1)],
        test_uniform=[
            {**slate(1, 60, ""), "candidates": [{"item_id": "6", "label": 1}, {"item_id": "70", "label": 0}]}
        ],
        test_popular=[
            {**slate(1, 50, ""), "candidates": [{"item_id": "5", "label": 1}, {"item_id": "71", "label": 0}]}
        ],
    )
    return folder


def test_beside_fixed_tests_nothing_from_their_earliest_moment_on_is_known(tmp_path: Path) -> None:
    corpus = open_corpus(fixed_test_folder(tmp_path), CorpusOptions(valid_share=0.25))
    times = {name: [example.time for example in examples] for name, examples in corpus.splits.items()}
    assert times == {
        "train": [10, 20, 30],
        "valid-uniform": [40],
        "valid-popular": [40],
        "valid": [40, 40],
        "test-popular": [50],
        "test-uniform": [60],
    }
    assert [event.time for event in corpus.events] == [5, 10, 20, 30]
    assert corpus.items[0].tags == ("Drama", "Comedy", "early")


def test_titles_of_items_jsonl_beside_the_ratings_are_what_is_read(tmp_path: Path) -> None:
    corpus = open_corpus(fixed_test_folder(tmp_path), CorpusOptions())
    assert (corpus.items[0].title, corpus.items[0].published_at) == ("Title 1", 915148800.0)
    (tmp_path / "items.jsonl").unlink()
    assert open_corpus(tmp_path, CorpusOptions()).items[0].title == "Film 1 (1999)"


def test_a_broken_test_slate_beside_ratings_is_named_by_file_and_line(tmp_path: Path) -> None:
    folder = fixed_test_folder(tmp_path)
    (folder / "impressions.test-uniform.jsonl").write_text("{}\n")
    with pytest.raises(DatasetError, match=r"impressions.test-uniform.jsonl:1: impression_id is None"):
        open_corpus(folder, CorpusOptions())


def test_ratings_of_any_data_set_without_slates_are_made_into_slates() -> None:
    items = tuple(Item(letter, letter) for letter in "abcdef")
    likes = tuple(Interaction(f"e{n}", "u", "abc"[n], "like", float(n)) for n in range(3))
    corpus = corpus_of(Dataset("d", "jsonlines", items, likes, (), 9.0, {}), CorpusOptions(valid_share=0, test_share=0))
    assert [chosen(corpus, example) for example in corpus.splits["train"]] == ["a", "b", "c"]


# --- drawing


def test_draws_follow_the_weights() -> None:
    sampler = NegativeSampler(np.array([0.0, 1.0, 3.0, 0.0, 6.0]))
    rng = np.random.default_rng(0)
    counts = Counter(row for _ in range(4000) for row in sampler.draw(1, {4}, rng))
    assert set(counts) == {1, 2}
    assert counts[2] / 4000 == pytest.approx(0.75, abs=0.03)


def test_all_that_is_left_is_drawn_when_more_is_asked_for() -> None:
    sampler = NegativeSampler(np.array([1.0, 1e-9, 5.0, 0.0]))
    assert sorted(sampler.draw(9, {2}, np.random.default_rng(0))) == [0, 1]
    assert NegativeSampler(np.zeros(3)).draw(2, set(), np.random.default_rng(0)) == []
    assert NegativeSampler(np.zeros(0)).draw(2, set(), np.random.default_rng(0)) == []


def test_training_negatives_are_popular_and_uniform_in_equal_parts(tmp_path: Path) -> None:
    # One film is rated by everybody, one each by ten users, sixty-nine by nobody.
    ratings = [(f"u{n}", "1", 3.0, n) for n in range(200)]
    ratings += [(f"v{n}", str(2 + n), 5.0, 300 + n) for n in range(10)]
    options = CorpusOptions(valid_share=0, test_share=0, negatives=1)
    share = np.mean(
        [
            negatives(corpus, example) == {"1"}
            for seed in range(60)
            for corpus in [open_corpus(movielens_folder(tmp_path, ratings), replace(options, seed=seed))]
            for example in corpus.splits["train"]
        ]
    )
    power = 200**0.75
    popular = power / (power + 10)
    assert share == pytest.approx(0.5 * popular + 0.5 / FILMS, abs=0.06)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real ml-latest-small folder is not at {REAL}")
def test_the_real_folder_is_learnt_from_before_its_fixed_tests_only() -> None:
    corpus = open_corpus(REAL, CorpusOptions(valid_share=0.0))
    earliest = min(example.time or 0 for name in ("test-uniform", "test-popular") for example in corpus.splits[name])
    assert (len(corpus.splits["test-uniform"]), len(corpus.splits["test-popular"])) == (1603, 1603)
    assert len(corpus.events) == 80_677  # 80,669 before the cut of its README, 8 between that and the earliest slate
    assert corpus.events[-1].time < earliest
