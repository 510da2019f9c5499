"""Whom the demo shows, and what that person does next: choices that follow from the data alone, never from chance."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from shared.datasets import Interaction, Item

LEAST_HISTORY, MOST_HISTORY = 40, 200
"""Positive acts of a user who is known well and still has things to discover."""
LEAST_CATEGORIES = 3
CLICKS = 4
LIKES = 2
RECENT_S = 30 * 86_400.0
"""A user shown has acted within this time before the data's end, or all interests would have faded."""
_POSITIVE = frozenset({"click", "like", "purchase", "comment", "share"})
_UNFAMILIAR = 0.02
"""A category within this share of the strongest interest, for or against, is one the user did not care for."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing the shown user does to an item of the page."""

    item: homepage_pb2.PageItem
    action: event_pb2.Action.ValueType


def choose_user(events: Sequence[Interaction], items: Sequence[Item]) -> str:
    """The user with the clearest taste among those with LEAST_HISTORY to MOST_HISTORY positive acts.

    Clear is what three categories make up of all the categories acted upon (ties: the smaller id). Users of fewer
    categories are left out, for their pages would show one thing, and so are users who have not come by lately.
    Without any such user: the one with most positive acts.

    Raises:
        ValueError: when there is no positive act at all.
    """
    categories = {item.item_id: item.category for item in items}
    liked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    last_seen: dict[str, float] = {}
    for event in events:
        if event.action in _POSITIVE:
            liked[event.user_id][categories[event.item_id]] += 1
            last_seen[event.user_id] = max(event.time, last_seen.get(event.user_id, event.time))
    if not liked:
        raise ValueError("nobody has acted on anything")

    def clarity(user: str) -> tuple[float, str]:
        counts = liked[user]
        return -sum(count for _, count in counts.most_common(LEAST_CATEGORIES)) / counts.total(), user

    recently = max(last_seen.values()) - RECENT_S
    fitting = [
        user
        for user, counts in liked.items()
        if LEAST_HISTORY <= counts.total() <= MOST_HISTORY
        and len(counts) >= LEAST_CATEGORIES
        and last_seen[user] >= recently
    ]
    return min(fitting, key=clarity) if fitting else min(liked, key=lambda user: (-liked[user].total(), user))


def page_items(page: homepage_pb2.RecommendResponse) -> Iterator[homepage_pb2.PageItem]:
    """The items of a page from top to bottom."""
    for section in page.sections:
        yield from section.items


def unfamiliar_category(page: homepage_pb2.RecommendResponse, interests: Sequence[profile_pb2.Interest]) -> str:
    """The category with most items on the page (ties: the highest place) among those the user hardly cares for.

    When the user cares for all of them: the one cared for least. Empty when no item of the page has a category.
    """
    cared = _cared_for(interests)
    counts = Counter(item.display.category for item in page_items(page) if item.display.category)
    limit = _UNFAMILIAR * max(cared.values(), default=0.0)
    strange = [category for category in counts if abs(cared.get(category, 0.0)) <= limit]
    if strange:
        return max(strange, key=lambda category: counts[category])
    return min(counts, key=lambda category: cared[category], default="")


def acts_on(
    page: homepage_pb2.RecommendResponse, category: str, interests: Sequence[profile_pb2.Interest]
) -> tuple[Act, ...]:
    """Clicks on the first items of the category, likes on some of them, and one hide elsewhere.

    Hidden is the item of another category that the user cares for least (ties: the highest place).
    """
    cared = _cared_for(interests)
    chosen = [item for item in page_items(page) if item.display.category == category]
    others = [item for item in page_items(page) if item.display.category not in ("", category)]
    acts = [Act(item, event_pb2.ACTION_CLICK) for item in chosen[:CLICKS]]
    acts += [Act(item, event_pb2.ACTION_LIKE) for item in chosen[:LIKES]]
    if others:
        hidden = min(others, key=lambda item: cared.get(item.display.category, 0.0))
        acts.append(Act(hidden, event_pb2.ACTION_HIDE))
    return tuple(acts)


def first_clicks(page: homepage_pb2.RecommendResponse, count: int = 2) -> tuple[Act, ...]:
    """Clicks of a visitor: on the first item, then on the next ones of the same category."""
    items = list(page_items(page))
    if not items:
        return ()
    same = [item for item in items if item.display.category == items[0].display.category]
    rest = [item for item in items if item not in same]
    return tuple(Act(item, event_pb2.ACTION_CLICK) for item in (same + rest)[:count])


def _cared_for(interests: Sequence[profile_pb2.Interest]) -> Mapping[str, float]:
    return {interest.category: interest.short_term + interest.long_term for interest in interests}
