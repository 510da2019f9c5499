"""Retrieve: the right candidates from the right sources, and never one that must not be shown."""

from typing import Any

import pytest
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import event_pb2, item_pb2

from shared.timestamps import to_duration, to_timestamp

DAY = 86_400.0
NEAREST, POPULAR, FRESH = 1, 2, 3


async def test_an_empty_library_answers_with_nothing(start_retrieval: Any) -> None:
    retrieval = await start_retrieval()
    response = await retrieval.retrieve()
    assert not response.candidates
    assert [report.source for report in response.source_reports] == [NEAREST, POPULAR, FRESH]


async def test_nearest_finds_what_is_like_the_history_and_names_its_anchor(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any
) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(
        make_item("tour1", "cycling tour mountain stage"),
        make_item("tour2", "cycling tour sprint stage"),
        make_item("bank1", "central bank interest rates"),
        make_item("bank2", "bank raises interest again"),
        make_item("soup", "tomato soup recipe"),
    )
    await retrieval.embedded()
    response = await retrieval.retrieve(history=make_history("tour1", "bank1"), sources=[NEAREST])
    assert ids_of(response)[:2] == ["tour2", "bank2"]
    anchors = {c.item.item_id: c.sources[0].anchor_item_id for c in response.candidates}
    assert (anchors["tour2"], anchors["bank2"]) == ("tour1", "bank1")
    scores = [c.sources[0].score for c in response.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert response.embedding_version == "words-1"
    assert response.index_version


async def test_an_older_anchor_counts_for_less(start_retrieval: Any, make_item: Any, make_history: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(*(make_item(f"{word}{i}", word) for word in ("alpha", "beta") for i in range(2)))
    await retrieval.embedded()
    response = await retrieval.retrieve(history=make_history("alpha0", "beta0"), sources=[NEAREST])
    scores = {c.item.item_id: c.sources[0].score for c in response.candidates}
    assert scores["alpha1"] == pytest.approx(1.0, abs=1e-6)
    assert scores["beta1"] == pytest.approx(0.9, abs=1e-6)


async def test_what_was_hidden_or_disliked_last_is_no_anchor(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any
) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a1", "alpha"), make_item("a2", "alpha"), make_item("b1", "beta"))
    await retrieval.embedded()
    for action in (event_pb2.ACTION_HIDE, event_pb2.ACTION_DISLIKE):
        history = [*make_history("a1", action=action), *make_history("a1")]
        assert not ids_of(await retrieval.retrieve(history=history, sources=[NEAREST]))
    history = [*make_history("a1"), *make_history("a1", action=event_pb2.ACTION_DISLIKE)]
    assert "a2" in ids_of(await retrieval.retrieve(history=history, sources=[NEAREST]))


async def test_history_items_come_back_in_order_once_even_when_they_may_not_be_shown(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any
) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a"), make_item("b", moderation=item_pb2.MODERATION_REJECTED), make_item("c"))
    response = await retrieval.retrieve(history=make_history("b", "gone", "a", "b"))
    assert [item.item_id for item in response.history_items] == ["b", "a"]
    assert ids_of(response) == ["c"]


async def test_popular_follows_the_decayed_counts(
    start_retrieval: Any, make_item: Any, ids_of: Any, profile: Any, clock: Any
) -> None:
    now = clock.now()
    profile.add("old", event_pb2.ACTION_PURCHASE, now - 4 * DAY)
    profile.add("new", event_pb2.ACTION_LIKE, now)
    profile.add("hated", event_pb2.ACTION_HIDE, now)
    profile.add("later", event_pb2.ACTION_CLICK, now)
    retrieval = await start_retrieval(popularity_half_life_s=2 * DAY)
    await retrieval.put(make_item("old"), make_item("new"), make_item("hated"))
    await retrieval.counted()
    response = await retrieval.retrieve(sources=[POPULAR])
    scores = {c.item.item_id: c.popularity for c in response.candidates}
    assert scores == pytest.approx({"new": 1.0, "old": 0.5, "hated": 0.0})
    assert [c.sources[0].score for c in response.candidates] == pytest.approx([1.0, 0.5, 0.0])
    await retrieval.put(make_item("later"))
    clock.advance(30 * DAY)
    response = await retrieval.retrieve(sources=[POPULAR])
    assert {c.item.item_id: c.popularity for c in response.candidates}["later"] == pytest.approx(0.5)
    assert (await retrieval.status()).counted_events == 4


async def test_popularity_is_told_in_relation_to_what_can_be_shown(
    start_retrieval: Any, make_item: Any, make_history: Any, profile: Any, clock: Any
) -> None:
    for item_id, action in (("gone", 6), ("seen", 3), ("rest", 2)):
        profile.add(item_id, action, clock.now())
    retrieval = await start_retrieval()
    await retrieval.put(make_item("gone", unavailable=True), make_item("seen"), make_item("rest"))
    await retrieval.counted()
    response = await retrieval.retrieve(history=make_history("seen"))
    assert [(c.item.item_id, c.popularity) for c in response.candidates] == [("rest", pytest.approx(0.5))]


async def test_fresh_halves_with_age_and_leaves_out_what_has_no_date(
    start_retrieval: Any, make_item: Any, clock: Any
) -> None:
    retrieval = await start_retrieval(freshness_half_life_s=DAY)
    await retrieval.put(make_item("today", published=0), make_item("before", published=2 * DAY), make_item("undated"))
    response = await retrieval.retrieve(sources=[FRESH])
    scores = {c.item.item_id: c.sources[0].score for c in response.candidates}
    assert scores == pytest.approx({"today": 1.0, "before": 0.25})
    later = await retrieval.retrieve(sources=[FRESH], now=to_timestamp(clock.now() + DAY))
    assert later.candidates[0].sources[0].score == pytest.approx(0.5)


async def test_a_library_without_dates_events_and_history_still_fills_a_page(
    start_retrieval: Any, make_item: Any, ids_of: Any
) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(*(make_item(f"{i}") for i in range(30)))
    response = await retrieval.retrieve(max_candidates=20)
    assert len(set(ids_of(response))) == 20
    assert ids_of(response) == ids_of(await retrieval.retrieve(max_candidates=20))


async def test_each_filter_takes_away_what_it_names_and_is_counted(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any, clock: Any
) -> None:
    base = {"published": 60.0, "category": "news", "language": "en-GB", "domain": "d"}
    retrieval = await start_retrieval()
    await retrieval.put(
        make_item("fine", **base),
        make_item("unknown_language", **{**base, "language": ""}),
        make_item("seen", **base),
        make_item("excluded", **base),
        make_item("pending", moderation=item_pb2.MODERATION_PENDING, **base),
        make_item("rejected", moderation=item_pb2.MODERATION_REJECTED, **base),
        make_item("unavailable", unavailable=True, **base),
        make_item("embargoed", **{**base, "published": -60.0}),
        make_item("expired", expires_at=to_timestamp(clock.now() - 1), **base),
        make_item("other_category", **{**base, "category": "sport"}),
        make_item("unwanted_category", **{**base, "category": "gossip"}),
        make_item("other_language", **{**base, "language": "eng"}),
        make_item("too_old", **{**base, "published": 2 * DAY}),
        make_item("undated", **{**base, "published": None}),
        make_item("other_domain", **{**base, "domain": "x"}),
    )
    response = await retrieval.retrieve(
        history=make_history("seen"),
        exclude_item_ids=["excluded", "not in the library"],
        filter=item_pb2.ItemFilter(
            include_categories=["news", "gossip"],
            exclude_categories=["gossip"],
            languages=["EN"],
            max_age=to_duration(DAY),
            domains=["d"],
        ),
    )
    assert sorted(ids_of(response)) == ["fine", "unknown_language"]
    assert {removal.filter: removal.count for removal in response.removals} == {
        "seen": 1,
        "excluded": 1,
        "not_approved": 2,
        "unavailable": 2,
        "expired": 1,
        "category": 2,
        "language": 1,
        "max_age": 2,
        "domain": 1,
    }


async def test_a_language_range_does_not_take_its_parent(start_retrieval: Any, make_item: Any, ids_of: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(make_item("en", language="en"), make_item("gb", language="EN-gb"))
    response = await retrieval.retrieve(filter=item_pb2.ItemFilter(languages=["en-GB"]))
    assert ids_of(response) == ["gb"]


async def test_a_narrow_filter_does_not_starve_nearest(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any
) -> None:
    retrieval = await start_retrieval()
    near = [make_item(f"near{i}", "alpha alpha alpha", category="common") for i in range(150)]
    far = [make_item(f"far{i}", f"alpha w{i}", category="rare") for i in range(5)]
    await retrieval.put(*near, *far)
    await retrieval.embedded()
    response = await retrieval.retrieve(
        history=make_history("near0"),
        sources=[NEAREST],
        max_candidates=10,
        filter=item_pb2.ItemFilter(include_categories=["rare"]),
    )
    assert sorted(ids_of(response)) == [f"far{i}" for i in range(5)]


async def test_no_source_is_crowded_out_and_the_best_come_first(
    start_retrieval: Any, make_item: Any, make_history: Any, profile: Any, clock: Any
) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(*(make_item(f"same{i:02}", "alpha") for i in range(40)))
    await retrieval.put(*(make_item(f"fresh{i}", f"w{i}", published=DAY * (i + 5)) for i in range(10)))
    for i in range(10):
        profile.add(f"fresh{i}", event_pb2.ACTION_VIEW, clock.now() - i * DAY)
    await retrieval.embedded()
    await retrieval.counted()
    response = await retrieval.retrieve(history=make_history("same00"), max_candidates=12)
    assert len(response.candidates) == 12
    by_source = [sum(s.source == source for c in response.candidates for s in c.sources) for source in (1, 2, 3)]
    assert min(by_source) >= 4
    best = [c.sources[0].score for c in response.candidates]
    assert best == sorted(best, reverse=True)
    for candidate in response.candidates:
        scores = [score.score for score in candidate.sources]
        assert scores == sorted(scores, reverse=True)
    assert len({c.item.item_id for c in response.candidates}) == 12
    assert all(report.found >= 4 for report in response.source_reports)


async def test_bad_requests_are_refused_with_every_violation(start_retrieval: Any, violations_of: Any) -> None:
    retrieval = await start_retrieval()
    call = retrieval.retrieve(
        history=[retrieval_pb2.HistoryEntry(item_id="", action=event_pb2.ACTION_CLICK), {"item_id": "a"}],
        max_candidates=1001,
        sources=[FRESH, 0, 9],
        exclude_item_ids=["ok", "\x01"],
        filter=item_pb2.ItemFilter(languages=["not a language"], domains=[""], max_age={"seconds": -1}),
        now={"seconds": -1},
    )
    assert set(await violations_of(call)) == {
        "history[0].item_id",
        "history[1].action",
        "max_candidates",
        "sources[1]",
        "sources[2]",
        "exclude_item_ids[1]",
        "filter.languages[0]",
        "filter.domains[0]",
        "filter.max_age",
        "now",
    }
    too_many = retrieval.retrieve(history=[{"item_id": "a", "action": 1}] * 501, exclude_item_ids=["a"] * 10_001)
    assert set(await violations_of(too_many)) == {"history", "exclude_item_ids"}


async def test_sources_and_the_library_are_measured(start_retrieval: Any, make_item: Any, make_history: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a", published=60), make_item("b", published=60))
    await retrieval.embedded()
    await retrieval.retrieve(history=make_history("a"))
    sample = retrieval.runtime.metrics.registry.get_sample_value
    for state, items in (("all", 2), ("indexed", 2), ("pending", 0)):
        assert sample("homepage_retrieval_items", {"state": state}) == items
    for source in ("nearest", "popular", "fresh"):
        assert sample("homepage_retrieval_source_seconds_count", {"source": source}) == 1
        assert sample("homepage_retrieval_source_candidates_sum", {"source": source}) == 2
