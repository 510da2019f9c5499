"""Greedy selection in which items of one category or publisher push each other down.

Each time a category (or publisher) has been chosen, what is left of it loses a constant factor (exponential
attenuation by group, as author diversity does it in feeds). Factors only ever fall, so a heap whose entries are
brought up to date when they reach the top gives the exact greedy order in O(n log n) (lazy greedy; Minoux 1978).
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence

from services.orchestrator.slate import Scored


def diversified(scored: Sequence[Scored], attenuation: float) -> Iterator[tuple[Scored, float]]:
    """Candidates in the order of their attenuated score, each with its factor over 0 to 1.

    `attenuation` is the factor per item already chosen of the same category; publishers count half (its square
    root). 1.0 = plain order of scores. Ties go by item id, so that the order is the same everywhere.
    """
    publisher_attenuation = attenuation**0.5
    chosen_categories: Counter[str] = Counter()
    chosen_publishers: Counter[str] = Counter()
    # The factors that follow from the counts: read for every look at the heap's top, changed only by a choice.
    by_category: dict[str, float] = {}
    by_publisher: dict[str, float] = {}
    heap = [(-entry.score, entry.candidate.item_id, index, 1.0) for index, entry in enumerate(scored)]
    heapq.heapify(heap)
    while heap:
        _, item_id, index, stale = heap[0]
        entry = scored[index]
        category, publisher = entry.candidate.category, entry.candidate.publisher
        current = by_category.get(category, 1.0) * by_publisher.get(publisher, 1.0)
        if current < stale:
            heapq.heapreplace(heap, (-entry.score * current, item_id, index, current))
            continue
        heapq.heappop(heap)
        yield entry, current
        if category:
            chosen_categories[category] += 1
            by_category[category] = attenuation ** chosen_categories[category]
        if publisher:
            chosen_publishers[publisher] += 1
            by_publisher[publisher] = publisher_attenuation ** chosen_publishers[publisher]
