"""The last good popular list: what is shown while the library cannot be reached."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.orchestrator.slate import Candidate, Retrieved, Source

if TYPE_CHECKING:
    from services.orchestrator.recommend import Query


class PopularFallback:
    """Holds the list; whoever refreshes it hands over what the library answered to a request without history."""

    def __init__(self) -> None:
        self._candidates: Sequence[Candidate] = ()

    def keep(self, candidates: Sequence[Candidate]) -> None:
        """Replaces the list; an empty one is not good, and does not replace a good one."""
        if candidates:
            self._candidates = [
                candidate._replace(
                    sources=(Source.FALLBACK_POPULAR,),
                    retrieval_score=candidate.popularity,
                    anchor_item_id="",
                )
                for candidate in candidates
            ]

    @property
    def size(self) -> int:
        """How many items the list holds."""
        return len(self._candidates)

    def retrieve(self, query: "Query") -> Retrieved:
        """The list without what the user has seen or excluded and what the caller filters out.

        History items that happen to be on the list are hydrated from it.
        """
        seen = {event.item_id for event in query.history}
        unwanted = seen.union(query.exclude)
        removed: dict[str, int] = {}
        kept = []
        for candidate in self._candidates:
            if candidate.item_id in unwanted:
                removed["seen"] = removed.get("seen", 0) + 1
            elif not query.filter.passes(candidate, query.now):
                removed["filter"] = removed.get("filter", 0) + 1
            else:
                kept.append(candidate)
        by_id = {candidate.item_id: candidate.item for candidate in self._candidates}
        order = dict.fromkeys(event.item_id for event in query.history if event.item_id in by_id)
        return Retrieved(kept[: query.count], [by_id[item_id] for item_id in order], removed=removed)
