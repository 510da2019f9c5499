"""From scored candidates to a page: diversity, sections, reasons."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.diversity import diversified
from services.orchestrator.reasons import ReasonKind, reasons_of
from services.orchestrator.sections import PageShape, lay_out
from services.orchestrator.slate import ItemFilter, Source
from tests.orchestrator.slates import PlainItem, make_candidate, make_scored
from tests.stand_ins import DAY, NOW

probabilities = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60)


def shape(size=24, *, first_position=1, first_page=True, attenuation=1.0, known_user=True):
    return PageShape(size, first_position, first_page, attenuation, known_user)


def ids(section):
    return [placed.scored.candidate.item_id for placed in section.items]


def greedy(scored, attenuation):
    """The definition, without the heap: at each step the best attenuated score, ties by id."""
    left, chosen = list(scored), []
    while left:

        def factor(entry):
            same = sum(other.candidate.category == entry.candidate.category for other in chosen)
            same_publisher = sum(other.candidate.publisher == entry.candidate.publisher for other in chosen)
            return attenuation**same * (attenuation**0.5) ** same_publisher

        best = min(left, key=lambda entry: (-entry.score * factor(entry), entry.candidate.item_id))
        left.remove(best)
        chosen.append(best)
    return [entry.candidate.item_id for entry in chosen]


@given(probabilities, st.sampled_from([1.0, 0.95, 0.85, 0.7]))
def test_the_heap_gives_the_greedy_order(values, attenuation):
    scored = [make_scored(number, round(value, 3)) for number, value in enumerate(values)]
    order = [entry.candidate.item_id for entry, _ in diversified(scored, attenuation)]
    assert order == greedy(scored, attenuation)


@given(probabilities)
def test_without_attenuation_the_order_is_that_of_the_scores(values):
    scored = [make_scored(number, value) for number, value in enumerate(values)]
    order = list(diversified(scored, 1.0))
    assert all(a.score >= b.score for (a, _), (b, _) in pairwise(order))
    assert {factor for _, factor in order} == {1.0}


def test_items_without_category_or_publisher_do_not_push_each_other_down():
    scored = [make_scored(number, 0.5, category="", publisher="") for number in range(5)]
    assert {factor for _, factor in diversified(scored, 0.5)} == {1.0}


fresh, popular = st.floats(0, 1), st.floats(0, 1)
entries = st.lists(
    st.tuples(st.floats(0.01, 0.99), fresh, popular, st.sampled_from(["", "h1", "h2"]), st.booleans()), max_size=80
)


@given(entries, st.integers(1, 40), st.booleans())
def test_a_page_is_as_full_as_it_can_be_and_holds_nothing_twice(given_entries, size, first_page):
    scored = [
        make_scored(number, score, freshness=freshness, popularity=popularity, anchor_item_id=anchor, filler=filler)
        for number, (score, freshness, popularity, anchor, filler) in enumerate(given_entries)
    ]
    history = {"h1": PlainItem("h1", "One"), "h2": PlainItem("h2", "Two")}
    sections = lay_out(scored, history, shape(size, first_position=5, first_page=first_page, attenuation=0.85))
    placed = [each for section in sections for each in section.items]
    found = [each.scored.candidate.item_id for each in placed]
    assert len(found) == len(set(found)) == min(size, len(scored))
    assert [each.position for each in placed] == list(range(5, 5 + len(found)))
    assert all(section.items for section in sections)
    fillers = sum(each.scored.candidate.filler for each in placed)
    organic = sum(not entry.candidate.filler for entry in scored)
    assert fillers == max(0, len(found) - organic)


def test_small_pages_and_later_pages_are_one_block():
    scored = [make_scored(number, 0.5, popularity=0.5, freshness=0.9) for number in range(40)]
    assert [section.id for section in lay_out(scored, {}, shape(17))] == ["for_you"]
    assert [section.id for section in lay_out(scored, {}, shape(24, first_page=False))] == ["for_you"]
    assert [section.id for section in lay_out(scored, {}, shape(24))] == ["for_you", "trending", "new"]


def test_trending_stands_in_the_order_of_popularity_and_new_in_that_of_dates():
    scored = [make_scored(number, 0.9) for number in range(12)]
    scored += [make_scored(number, 0.1, popularity=number / 100) for number in range(20, 30)]
    scored += [make_scored(number, 0.1, freshness=number / 100, sources=(Source.FRESH,)) for number in range(40, 50)]
    sections = {section.id: ids(section) for section in lay_out(scored, {}, shape(24))}
    assert sections["trending"] == ["i29", "i28", "i27", "i26"]
    assert sections["new"] == ["i49", "i48", "i47", "i46"]


def test_the_newest_item_with_enough_neighbours_anchors_the_because_section():
    scored = [make_scored(number, 0.9) for number in range(12)]
    scored += [make_scored(number, 0.2, anchor_item_id="h1") for number in range(20, 22)]
    scored += [make_scored(number, 0.1, anchor_item_id="h2") for number in range(30, 36)]
    history = {"h1": PlainItem("h1", "Newest"), "h2": PlainItem("h2", "Older", domain="video")}
    because = next(section for section in lay_out(scored, history, shape(24)) if section.id == "because")
    assert because.anchor_item_id == "h2"
    assert because.title == "Because you watched “Older”"
    assert set(ids(because)) <= {f"i{number}" for number in range(30, 36)}


def kinds(scored, section="for_you", history=None):
    return [reason.kind for reason in reasons_of(scored, section, history or {})]


def test_reasons_are_told_only_when_their_signal_is_there():
    assert kinds(make_scored(1, 0.5, popularity=0.01)) == [ReasonKind.POPULAR]
    assert kinds(make_scored(1, 0.5, popularity=0.01), "trending") == [ReasonKind.POPULAR]
    assert kinds(make_scored(1, 0.5)) == kinds(make_scored(1, 0.5), "trending") == [ReasonKind.FILLER]
    assert kinds(make_scored(1, 0.5, sources=(Source.FRESH,))) == [ReasonKind.NEW]
    assert kinds(make_scored(1, 0.5, interest=0.5)) == [ReasonKind.INTEREST]
    assert kinds(make_scored(1, 0.5, anchor_item_id="h"), history={"h": PlainItem("h", "x")}) == [ReasonKind.SIMILAR_TO]
    both = make_scored(1, 0.5, freshness=0.9, popularity=0.9)
    assert kinds(both, "trending") == [ReasonKind.POPULAR, ReasonKind.NEW]
    assert kinds(both, "new") == [ReasonKind.NEW, ReasonKind.POPULAR]
    assert kinds(make_scored(1, 0.5, filler=True, popularity=1.0)) == [ReasonKind.FILLER]


def test_beside_a_fusion_popularity_and_age_are_reasons_only_where_they_chose_the_item():
    signals = {"blended": True, "freshness": 0.9, "popularity": 0.9}
    near = make_scored(1, 0.5, sources=(Source.NEAREST,), **signals)
    assert kinds(near) == [ReasonKind.SIMILAR_TO]
    assert kinds(near, "new") == [ReasonKind.NEW]
    assert kinds(make_scored(1, 0.5, sources=(Source.POPULAR,), **signals)) == [ReasonKind.POPULAR]
    assert kinds(make_scored(1, 0.5, sources=(Source.FRESH,), **signals)) == [ReasonKind.NEW]


def test_a_long_title_is_cut_in_a_reason():
    history = {"h": PlainItem("h", "word " * 50)}
    reason = reasons_of(make_scored(1, 0.5, anchor_item_id="h"), "for_you", history)[0]
    assert len(reason.text) < 80
    assert reason.text.endswith("…”")


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"include_categories": frozenset({"c1"})}, True),
        ({"include_categories": frozenset({"c2"})}, False),
        ({"exclude_categories": frozenset({"c1"})}, False),
        ({"domains": frozenset({"news"})}, True),
        ({"domains": frozenset({"shop"})}, False),
        ({"languages": ("en",)}, True),
        ({"languages": ("de", "fr")}, False),
        ({"max_age_s": 400 * DAY}, True),
        ({"max_age_s": 300 * DAY}, False),
    ],
)
def test_the_fallbacks_filter_is_that_of_the_library(fields, passes):
    candidate = make_candidate(1, language="en-GB")
    assert ItemFilter(**fields).passes(candidate, NOW) is passes


def test_unknown_language_passes_and_unknown_date_does_not():
    candidate = make_candidate(1, language="", published_at=None)
    assert ItemFilter(languages=("en",)).passes(candidate, NOW)
    assert not ItemFilter(max_age_s=DAY).passes(candidate, NOW)
