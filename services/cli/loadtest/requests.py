"""The requests of a scenario: visits, put as each service would be asked about them, in a file that ghz cycles through.

What Recommend makes of a visit (one GetProfile, one Retrieve, one Rank) is what the other services are asked here, in
the same sizes, so that their figures can be compared with the page's.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.profile.v1 import profile_pb2
from homepage.ranker.v1 import ranker_pb2
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from services.cli.loading import ACTIONS, to_item
from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.visits import Crowd, Visit, World, draw_visits
from shared.datasets import Item
from shared.ids import derived_id
from shared.timestamps import to_timestamp

HISTORY = 200
"""Events of a profile that a page is made from."""
RANKED_HISTORY = 50
CANDIDATES = 200

Maker = Callable[[World, Visit, random.Random], Message]


@dataclass(frozen=True, slots=True)
class _Kind:
    make: Maker
    count: int
    """Requests in a file: enough that repeats are rare, few enough that ghz need not hold hundreds of megabytes."""


def write_requests(method: str, world: World, crowd: Crowd, path: Path, most: int | None = None) -> int:
    """Writes requests of a method ("package.Service.Method") as a JSON array, `most` at most; returns how many.

    Raises:
        LoadTestError: when requests of that method are not made here.
    """
    kind = _KINDS.get(method)
    if kind is None:
        known = ", ".join(_KINDS)
        raise LoadTestError(f"no requests are made for {method}, only for {known}; name data-file in the scenario")
    draws = random.Random(crowd.seed)
    count = kind.count if most is None else min(kind.count, most)
    visits = islice(draw_visits(world, crowd), count)
    requests = (MessageToDict(kind.make(world, visit, draws), preserving_proto_field_name=True) for visit in visits)
    lines = (json.dumps(request, ensure_ascii=False, separators=(",", ":")) for request in requests)
    path.write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")
    return count


def _recommend(world: World, visit: Visit, _: random.Random) -> homepage_pb2.RecommendRequest:
    request = homepage_pb2.RecommendRequest(
        user_id=visit.user_id,
        visitor_id=visit.visitor_id,
        context=homepage_pb2.RequestContext(now=_now(world)),
    )
    if visit.acted_on is not None:
        request.recent_events.add(
            action=event_pb2.ACTION_CLICK,
            item_id=visit.acted_on.item_id,
            category=to_item(visit.acted_on).category,
            time=_now(world),
        )
    return request


def _get_profile(world: World, visit: Visit, _: random.Random) -> profile_pb2.GetProfileRequest:
    return profile_pb2.GetProfileRequest(
        user_id=visit.user_id, visitor_id=visit.visitor_id, max_events=HISTORY, now=_now(world)
    )


def _retrieve(world: World, visit: Visit, _: random.Random) -> retrieval_pb2.RetrieveRequest:
    request = retrieval_pb2.RetrieveRequest(max_candidates=CANDIDATES, now=_now(world))
    if visit.acted_on is not None:
        request.history.add(item_id=visit.acted_on.item_id, action=event_pb2.ACTION_CLICK, time=_now(world))
    for act in world.past(visit.user_id, HISTORY - len(request.history)):
        request.history.add(item_id=act.item_id, action=ACTIONS[act.action], time=to_timestamp(act.time))
    return request


def _rank(world: World, visit: Visit, draws: random.Random) -> ranker_pb2.RankRequest:
    """The newest items of the history, each once, and candidates drawn from all items."""
    request = ranker_pb2.RankRequest(now=_now(world))
    history = {} if visit.acted_on is None else {visit.acted_on.item_id: (event_pb2.ACTION_CLICK, world.now)}
    for act in world.past(visit.user_id, HISTORY):
        history.setdefault(act.item_id, (ACTIONS[act.action], act.time))
    for item_id, (action, time) in islice(history.items(), RANKED_HISTORY):
        request.history.add(item=_text(world.item_of[item_id]), action=action, time=to_timestamp(time))
    candidates = draws.sample(world.items, min(CANDIDATES, len(world.items)))
    request.candidates.extend(_text(item) for item in candidates)
    if all(item.published_at is not None for item in candidates):
        request.signals.published_at_seconds.extend(item.published_at or 0.0 for item in candidates)
    return request


def _text(item: Item) -> ranker_pb2.ItemText:
    """With the revision that the library gives it, under which the ranker knows the item already."""
    stored = to_item(item)
    return ranker_pb2.ItemText(
        item_id=stored.item_id,
        revision=derived_id(stored.title, stored.category, stored.publisher),
        title=stored.title,
        category=stored.category,
        publisher=stored.publisher,
    )


def _now(world: World) -> Timestamp | None:
    return to_timestamp(world.now) if world.now else None


_KINDS: Mapping[str, _Kind] = {
    "homepage.v1.Homepage.Recommend": _Kind(_recommend, 10_000),
    "homepage.profile.v1.Profile.GetProfile": _Kind(_get_profile, 10_000),
    "homepage.retrieval.v1.Retrieval.Retrieve": _Kind(_retrieve, 500),
    "homepage.ranker.v1.Ranker.Rank": _Kind(_rank, 300),
}
