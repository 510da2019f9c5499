"""The blocks of a page: what is for you, what follows from one thing you did, what is trending, what is new.

The first page has all blocks that can be filled; the pages after it go on with "for you". No item stands twice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.orchestrator.diversity import diversified
from services.orchestrator.slate import Item, Placed, PlacedSection, Scored, Source

FOR_YOU, BECAUSE, TRENDING, NEW = "for_you", "because", "trending", "new"
_LEAST_PAGE = 18
"""A smaller page is one block; from here on "for you" keeps half of it."""
_LEAST_BLOCK = 3
"""A block of its own needs as many items."""
_NEW_WITHIN = 0.25
"""New means younger than two half-lives."""
_POPULAR = frozenset({Source.POPULAR, Source.FALLBACK_POPULAR})
_VERBS = {"news": "read", "shop": "looked at", "video": "watched", "ads": "looked at"}


@dataclass(frozen=True, slots=True)
class PageShape:
    """How many items, from which position on, whether it is the first page, and the strength of diversity."""

    size: int
    first_position: int
    first_page: bool
    attenuation: float
    known_user: bool


_Pick = tuple[Scored, float]
"""A scored candidate and its diversity factor."""


class _Picker:
    """Takes items once each, fillers last."""

    def __init__(self, scored: Sequence[Scored]) -> None:
        self._left = {entry.candidate.item_id: entry for entry in scored if not entry.candidate.filler}
        fillers = [entry for entry in scored if entry.candidate.filler]
        self._fillers = {each.candidate.item_id: each for each in fillers if each.candidate.item_id not in self._left}

    def take(self, ranked: Iterable[_Pick], count: int) -> list[_Pick]:
        picks: list[_Pick] = []
        if count <= 0:
            return picks
        for pick in ranked:
            if self._left.pop(pick[0].candidate.item_id, None) is not None:
                picks.append(pick)
                if len(picks) == count:
                    break
        return picks

    def left(self) -> list[Scored]:
        """What is not taken and is no filler."""
        return list(self._left.values())

    def fill(self, count: int) -> list[_Pick]:
        """The best fillers; asked for when nothing else is left."""
        return [(entry, 1.0) for entry in sorted(self._fillers.values(), key=_by_score)[: max(count, 0)]]


def lay_out(scored: Sequence[Scored], history: Mapping[str, Item], shape: PageShape) -> list[PlacedSection]:
    """Divides the best of the candidates into sections and numbers the places from top to bottom.

    "for you" chooses first and holds what the other blocks leave; each of those gets a sixth of the first page if
    it can be filled with at least three items. `history` maps the ids of known history items, newest first.
    """
    picker = _Picker(scored)
    block = shape.size // 6 if shape.first_page and shape.size >= _LEAST_PAGE else 0
    block = max(block, _LEAST_BLOCK) if block else 0
    personal = diversified(picker.left(), shape.attenuation)
    for_you = picker.take(personal, shape.size - 3 * block if block else shape.size)
    extra = _blocks(picker, history, block) if block else []
    missing = shape.size - len(for_you) - sum(len(picks) for _, _, _, picks in extra)
    for_you += picker.take(personal, missing)
    missing = shape.size - len(for_you) - sum(len(picks) for _, _, _, picks in extra)
    for_you += picker.fill(missing)
    title = "For you" if shape.known_user else "Good to start with"
    return _numbered([(FOR_YOU, title, "", for_you), *extra], shape.first_position)


_Block = tuple[str, str, str, list[_Pick]]


def _blocks(picker: _Picker, history: Mapping[str, Item], size: int) -> list[_Block]:
    blocks: list[_Block] = []
    left = picker.left()
    anchor = _anchor(left, history)
    if anchor is not None:
        near = sorted((entry for entry in left if entry.candidate.anchor_item_id == anchor.item_id), key=_by_score)
        title = f"Because you {_VERBS.get(anchor.domain, 'looked at')} “{anchor.title}”"
        blocks.append((BECAUSE, title, anchor.item_id, picker.take(_plain(near), size)))
        left = picker.left()
    popular = [
        entry for entry in left if entry.candidate.popularity > 0 and not _POPULAR.isdisjoint(entry.candidate.sources)
    ]
    popular.sort(key=lambda entry: (-entry.candidate.popularity, entry.candidate.item_id))
    blocks.append((TRENDING, "Trending now", "", _whole(picker, popular, size)))
    taken = {scored.candidate.item_id for scored, _ in blocks[-1][3]}
    recent = [entry for entry in left if entry.freshness >= _NEW_WITHIN and entry.candidate.item_id not in taken]
    recent.sort(key=lambda entry: (-entry.freshness, entry.candidate.item_id))
    blocks.append((NEW, "New", "", _whole(picker, recent, size)))
    return [block for block in blocks if block[3]]


def _whole(picker: _Picker, ranked: list[Scored], size: int) -> list[_Pick]:
    return picker.take(_plain(ranked), size) if len(ranked) >= _LEAST_BLOCK else []


def _anchor(left: Sequence[Scored], history: Mapping[str, Item]) -> Item | None:
    """The newest item of the history that enough of the remaining candidates are near to."""
    near = Counter([entry.candidate.anchor_item_id for entry in left])
    return next((item for item_id, item in history.items() if near[item_id] >= _LEAST_BLOCK), None)


def _plain(ranked: Iterable[Scored]) -> Iterable[tuple[Scored, float]]:
    return ((entry, 1.0) for entry in ranked)


def _by_score(entry: Scored) -> tuple[float, str]:
    return -entry.score, entry.candidate.item_id


def _numbered(blocks: Sequence[_Block], first_position: int) -> list[PlacedSection]:
    sections = []
    position = first_position
    for section_id, title, anchor_item_id, picks in blocks:
        if not picks:
            continue
        placed = []
        for scored, factor in picks:
            placed.append(Placed(scored, position, factor))
            position += 1
        sections.append(PlacedSection(section_id, title, placed, anchor_item_id))
    return sections
