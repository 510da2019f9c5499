"""Whatever happened in whatever order: nothing is learnt from, or known at a slate, that had not happened before it."""

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import corpus_of
from services.trainer.corpus import Corpus
from services.trainer.event_log import EventLog, LoggedAct, LoggedPage, corpus_of_log
from shared.datasets import Action, Candidate, Dataset, HistoryEntry, Impression, Interaction, Item

ITEMS = tuple(Item(f"i{number}", f"Item {number}") for number in range(6))
ITEM_IDS = st.sampled_from([item.item_id for item in ITEMS])
USERS = st.sampled_from("uvw")
TIMES = st.integers(0, 30).map(float)  # few, so that many are equal
ACTIONS = st.sampled_from(get_args(Action))
OPTIONS = st.builds(
    CorpusOptions,
    valid_share=st.sampled_from([0.0, 0.1, 0.3]),
    test_share=st.sampled_from([0.0, 0.1, 0.5]),
    max_history=st.integers(0, 5),
    least_positives=st.just(1),
    seed=st.integers(0, 3),
)
LIKES = st.sampled_from(["like", "like", "view", "dislike"])


def interactions(drawn: Sequence[tuple[str, str, str, float]]) -> tuple[Interaction, ...]:
    acts = [
        Interaction(f"e{number}", user, item, action, time, 90.0)  # type: ignore[arg-type]
        for number, (user, item, action, time) in enumerate(drawn)
    ]
    return tuple(sorted(acts, key=lambda act: (act.time, act.event_id)))


@st.composite
def slates(draw: st.DrawFn) -> tuple[Impression, ...]:
    dated = st.builds(HistoryEntry, ITEM_IDS, ACTIONS, TIMES)
    undated = st.builds(HistoryEntry, ITEM_IDS, ACTIONS)
    histories = st.one_of(st.lists(dated, max_size=5), st.lists(undated, max_size=5))
    count = draw(st.integers(1, 12))
    return tuple(
        Impression(
            f"s{number}",
            draw(USERS),
            draw(TIMES),
            tuple(draw(histories)),
            tuple(
                Candidate(item, draw(st.sampled_from([0, 1])))
                for item in draw(st.lists(ITEM_IDS, min_size=1, unique=True))
            ),
        )
        for number in range(count)
    )


def assert_nothing_looks_ahead(corpus: Corpus, options: CorpusOptions) -> None:
    held_out = [example for name, examples in corpus.splits.items() if name != "train" for example in examples]
    for example in (*corpus.splits.get("train", ()), *held_out):
        assert example.time is not None
        assert len(example.history) <= options.max_history
        times = [past.time for past in example.history if past.time is not None]
        assert all(time < example.time for time in times)
        if len(times) == len(example.history):
            assert times == sorted(times, reverse=True)
    if held_out:
        first = min(example.time or 0.0 for example in held_out)
        assert all(event.time < first for event in corpus.events)
        assert all((example.time or 0.0) < first for example in corpus.splits["train"])
    assert [event.time for event in corpus.events] == sorted(event.time for event in corpus.events)
    for examples in corpus.splits.values():
        assert [example.time for example in examples] == sorted(example.time or 0.0 for example in examples)


@given(st.lists(st.tuples(USERS, ITEM_IDS, LIKES, TIMES), max_size=40), OPTIONS)
@settings(deadline=None)
def test_nothing_looks_ahead_in_slates_made_of_ratings(
    drawn: list[tuple[str, str, str, float]], options: CorpusOptions
) -> None:
    corpus = corpus_of(Dataset("d", "movielens", ITEMS, interactions(drawn), (), 99.0, {}), options)
    assert_nothing_looks_ahead(corpus, options)


@given(st.lists(st.tuples(USERS, ITEM_IDS, ACTIONS, TIMES), max_size=30), slates(), OPTIONS)
@settings(deadline=None)
def test_nothing_looks_ahead_in_slates_as_they_were_shown(
    drawn: list[tuple[str, str, str, float]], shown: tuple[Impression, ...], options: CorpusOptions
) -> None:
    corpus = corpus_of(Dataset("d", "generated", ITEMS, interactions(drawn), shown, 99.0, {}), options)
    assert_nothing_looks_ahead(corpus, options)
    assert all(event.action != "impression" for event in corpus.events)


@given(
    st.lists(st.tuples(USERS, ITEM_IDS, ACTIONS, TIMES, st.sampled_from(["", "p0", "p1", "p2"])), max_size=30),
    st.lists(st.tuples(USERS, TIMES, st.lists(ITEM_IDS, min_size=1, max_size=4, unique=True)), min_size=1, max_size=8),
    OPTIONS,
)
@settings(deadline=None)
def test_nothing_looks_ahead_in_the_event_log_and_no_slate_has_its_outcome_in_its_history(
    drawn: list[tuple[str, str, str, float, str]],
    served: list[tuple[str, float, list[str]]],
    options: CorpusOptions,
) -> None:
    acts = [LoggedAct(interactions([(user, item, action, time)])[0], page) for user, item, action, time, page in drawn]
    pages = [
        LoggedPage(f"p{number}", user, time, tuple((item, place) for place, item in enumerate(items, start=1)))
        for number, (user, time, items) in enumerate(served)
    ]
    corpus = corpus_of_log(EventLog(acts, pages, ITEMS), options)
    assert_nothing_looks_ahead(corpus, options)
    for examples in corpus.splits.values():
        for example in examples:
            rows = [past.item for past in example.history]
            assert len(rows) == len(set(rows))


def test_the_check_itself_sees_a_look_ahead() -> None:
    shown = (Impression("s", "u", 5.0, (HistoryEntry("i1", "click", 4.0),), (Candidate("i0", 1),)),)
    corpus = corpus_of(
        Dataset("d", "generated", ITEMS, (), shown, 99.0, {}), CorpusOptions(valid_share=0, test_share=0)
    )
    assert_nothing_looks_ahead(corpus, CorpusOptions())
    object.__setattr__(corpus.splits["train"][0].history[0], "time", 5.0)
    with pytest.raises(AssertionError):
        assert_nothing_looks_ahead(corpus, CorpusOptions())
