"""Robustness: changes do what they say, and a scorer is charged for exactly what it reads of titles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.corpus import Example
from services.trainer.robustness import (
    changed_items,
    lower_case,
    of_another_domain,
    robustness,
    robustness_markdown,
    upper_case,
    with_typos,
    with_words_dropped,
)
from shared.datasets import Item
from tests.trainer.measured_corpus import made_corpus, made_example, made_item

words = st.lists(st.text("abcXYZ", min_size=1, max_size=8), min_size=1, max_size=8).map(" ".join)


@given(words, st.integers(0, 99))
def test_typos_change_few_letters_and_bring_no_new_ones(title: str, seed: int) -> None:
    changed = with_typos(title, np.random.default_rng(seed))
    assert abs(len(changed) - len(title)) <= max(1, round(len(title) * 0.1))
    assert set(changed) <= set(title)
    assert changed == with_typos(title, np.random.default_rng(seed))


def test_typos_change_most_titles() -> None:
    generator = np.random.default_rng(0)
    assert (
        sum(with_typos("Central bank raises rates", generator) != "Central bank raises rates" for _ in range(50)) > 40
    )


@given(words, st.integers(0, 99))
def test_dropping_words_keeps_the_order_and_at_least_one(title: str, seed: int) -> None:
    left = iter(title.split())
    kept = with_words_dropped(title, np.random.default_rng(seed)).split()
    assert kept
    assert all(word in left for word in kept)


def test_an_item_never_loses_its_title_nor_anything_else() -> None:
    items = [Item("a", "x", category="films", publisher="p"), Item("b", "Some Title")]
    changed = changed_items(items, lambda title, _: "" if title == "x" else title.upper(), 0)
    assert changed == (items[0], Item("b", "SOME TITLE"))


def test_titles_of_another_domain_come_from_another_domain() -> None:
    mixed = [made_item(row, f"{domain} {row}", domain, domain) for row, domain in enumerate(["news", "shop"] * 10)]
    for before, after in zip(mixed, of_another_domain(mixed, 0), strict=True):
        assert after.title.split()[0] not in {before.domain, ""}
        assert (after.item_id, after.domain) == (before.item_id, before.domain)
    films = [made_item(row, f"film {row}") for row in range(5)]
    assert all(item.title and not item.title.startswith("film") for item in of_another_domain(films, 0))


@dataclass(frozen=True)
class Reader:
    """Likes titles that begin with a capital "G"."""

    items: Sequence[Item]
    name: str = "reader"
    probabilistic: bool = True

    def scores(self, examples: Sequence[Example]) -> list[np.ndarray]:
        good = np.array([item.title.startswith("G") for item in self.items], np.float32)
        return [0.25 + 0.5 * good[each.candidates] for each in examples]


def test_a_scorer_loses_what_a_change_takes_from_it_and_nothing_else() -> None:
    items = [made_item(0, "Good"), *(made_item(row, f"bad {row}") for row in range(1, 12))]
    corpus = made_corpus(items, [made_example(number, list(range(12)), [1] + [0] * 11) for number in range(3)])
    shifts = {each.change: each for each in robustness(Reader, corpus, "test")}
    assert list(shifts) == ["typos", "upper case", "lower case", "words dropped", "another domain"]
    upper, lower = shifts["upper case"], shifts["lower case"]
    assert (upper.metric, upper.before, upper.lost, upper.mean_abs_change) == ("ndcg@10", 1.0, 0.0, 0.0)
    # "good" is then one of twelve that tie.
    tied = (1 / np.log2(np.arange(10) + 2)).sum() / 12
    assert lower.lost == pytest.approx(1 - tied)
    assert lower.mean_abs_change == pytest.approx(0.5 / 12)
    table = robustness_markdown(list(shifts.values()))
    assert table.count("\n") == 7
    assert "| ndcg@10 before | ndcg@10 lost |" in table
    with pytest.raises(ValueError, match="no examples"):
        robustness(Reader, corpus, "valid")


def test_where_slates_have_one_candidate_it_is_charged_over_all_of_them() -> None:
    items = [made_item(0, "Good"), made_item(1, "bad"), made_item(2, "bad too")]
    corpus = made_corpus(items, [made_example(row, [row], [float(row == 0)]) for row in range(3)])
    lower = next(each for each in robustness(Reader, corpus, "test") if each.change == "lower case")
    assert (lower.metric, lower.before, lower.lost) == ("pooled_auc", 1.0, 0.5)
    assert "| lower case | 0.1667 | 1.0000 | +0.5000 |" in robustness_markdown([lower])


def test_what_cannot_be_measured_is_no_number() -> None:
    corpus = made_corpus([made_item(0, "Good")], [made_example(0, [0], [1])])
    shifts = robustness(Reader, corpus, "test")
    assert {(each.before, each.lost) for each in shifts} == {(None, None)}
    assert robustness_markdown(shifts).count("| – | – |") == len(shifts)


def test_case_changes_are_what_they_say() -> None:
    generator = np.random.default_rng(0)
    assert (upper_case("aB", generator), lower_case("aB", generator)) == ("AB", "ab")
