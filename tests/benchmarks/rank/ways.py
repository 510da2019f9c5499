"""Our ways to score one user's candidates, from text to probabilities, with more and more of it cached."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from shared.model.ranking_model import RankingModel
from tests.benchmarks.rank.bench_model import read_items, read_user, score
from tests.benchmarks.rank.workload import Workload


@dataclass(frozen=True, slots=True)
class Way:
    """`run` scores the whole workload."""

    name: str
    k: int
    dtype: str
    run: Callable[[], object]


def ways(model: RankingModel, workload: Workload) -> list[Way]:
    """Nothing cached; items cached (if the model has anything to cache of them); user cached too."""
    k, dtype = model.manifest.layout.split_depth, model.bert.placement.dtype
    items, user = read_items(model, workload.candidates), read_user(model, workload.user)

    def nothing_cached() -> None:
        score(model, read_user(model, workload.user), read_items(model, workload.candidates))

    def items_cached() -> None:
        score(model, read_user(model, workload.user), items)

    found = [Way("fast path", k, dtype, nothing_cached)]
    if model.caches_items:
        found.append(Way("fast path, items cached", k, dtype, items_cached))
        found.append(Way("fast path, items and user cached", k, dtype, partial(score, model, user, items)))
    return found
