"""Retrieve between the contract and the core."""

from google.protobuf.duration_pb2 import Duration
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import item_pb2

from services.retrieval.behaviour import Action, HistoryEntry
from services.retrieval.filters import ItemFilter, Scope
from services.retrieval.item_messages import MAX_ID, MessageCache, ids, language, text
from services.retrieval.retrieve import Candidate, Query, Retrieved
from services.retrieval.sources import Source
from shared.timestamps import duration_seconds, to_duration, to_seconds
from shared.validation import Checks

DEFAULT_CANDIDATES = 200
MAX_CANDIDATES = 1000
MAX_HISTORY = 500
MAX_EXCLUDED = 10_000
_MAX_WANTED = 100
_ACTIONS: frozenset[int] = frozenset(Action)
_SOURCES: frozenset[int] = frozenset(Source)


def to_query(request: retrieval_pb2.RetrieveRequest, now: float) -> Query:
    """A request as a query; `now` (unix seconds) where the request says nothing.

    Raises:
        ServiceError: INVALID_FIELD with all violations.
    """
    _check(request)
    scope = Scope(
        history=tuple(HistoryEntry(entry.item_id, Action(entry.action)) for entry in request.history),
        excluded=tuple(request.exclude_item_ids),
        wanted=_item_filter(request.filter),
        now=to_seconds(request.now) if request.HasField("now") else now,
    )
    sources = tuple(Source(source) for source in dict.fromkeys(request.sources)) or tuple(Source)
    return Query(scope, request.max_candidates or DEFAULT_CANDIDATES, sources)


def _check(request: retrieval_pb2.RetrieveRequest) -> None:
    checks = Checks()
    checks.size("history", request.history, MAX_HISTORY)
    for position, entry in enumerate(request.history[: MAX_HISTORY + 1]):
        path = f"history[{position}]"
        text(checks, f"{path}.item_id", entry.item_id, MAX_ID, 1)
        if entry.action not in _ACTIONS:
            checks.fail(f"{path}.action", "is required, and must be a value of Action")
        if entry.HasField("time"):
            checks.timestamp(f"{path}.time", entry.time)
    checks.number("max_candidates", request.max_candidates, 0, MAX_CANDIDATES)
    for position, source in enumerate(request.sources):
        if source not in _SOURCES:
            checks.fail(f"sources[{position}]", "must be a value of Source other than SOURCE_UNSPECIFIED")
    checks.size("exclude_item_ids", request.exclude_item_ids, MAX_EXCLUDED)
    ids(checks, "exclude_item_ids", request.exclude_item_ids[:MAX_EXCLUDED])
    _check_filter(checks, request.filter)
    if request.HasField("now"):
        checks.timestamp("now", request.now)
    checks.done()


def _check_filter(checks: Checks, wanted: item_pb2.ItemFilter) -> None:
    texts = (
        ("include_categories", wanted.include_categories, 256),
        ("exclude_categories", wanted.exclude_categories, 256),
        ("domains", wanted.domains, 64),
    )
    for name, values, most in texts:
        checks.size(f"filter.{name}", values, _MAX_WANTED)
        for position, value in enumerate(values):
            text(checks, f"filter.{name}[{position}]", value, most, 1)
    checks.size("filter.languages", wanted.languages, _MAX_WANTED)
    for position, value in enumerate(wanted.languages):
        language(checks, f"filter.languages[{position}]", value)
    if wanted.HasField("max_age"):
        checks.positive_duration("filter.max_age", wanted.max_age)


def _item_filter(wanted: item_pb2.ItemFilter) -> ItemFilter:
    return ItemFilter(
        include_categories=frozenset(wanted.include_categories),
        exclude_categories=frozenset(wanted.exclude_categories),
        languages=tuple(wanted.languages),
        max_age_s=duration_seconds(wanted.max_age) if wanted.HasField("max_age") else None,
        domains=frozenset(wanted.domains),
    )


def to_response(retrieved: Retrieved, cache: MessageCache) -> retrieval_pb2.RetrieveResponse:
    """What was retrieved as a message."""
    response = retrieval_pb2.RetrieveResponse(
        history_items=[cache.message(item) for item in retrieved.history_items],
        index_version=retrieved.index_version,
        embedding_version=retrieved.embedding_version,
        removals=[retrieval_pb2.Removal(filter=each.filter, count=each.count) for each in retrieved.removals],
    )
    for candidate in retrieved.candidates:
        _add_candidate(response, candidate, cache)
    for report in retrieved.reports:
        elapsed: Duration = to_duration(report.elapsed_s)
        response.source_reports.add(source=_source(report.source), found=report.found, elapsed=elapsed)
    return response


def _add_candidate(response: retrieval_pb2.RetrieveResponse, candidate: Candidate, cache: MessageCache) -> None:
    added = response.candidates.add(item=cache.message(candidate.item), popularity=candidate.popularity)
    for score in candidate.scores:
        near_to = candidate.anchor_item_id if score.source is Source.NEAREST else ""
        added.sources.add(source=_source(score.source), score=score.score, anchor_item_id=near_to)


def _source(source: Source) -> retrieval_pb2.Source.ValueType:
    return retrieval_pb2.Source.ValueType(source)
