"""`python -m tests.benchmarks.quality.depth`: quality against split depth k, on the generated world.

The recipe "quick" trains a version whose candidates never meet the user (k = all layers). Then the same adapter goes
on where candidates meet the user in the upper layers (k = two thirds, one third) or in all (k = 0), by the recipe
"deep" with as many steps for each. All are measured on the test split by the code that serves them, without a fusion,
beside the untrained model. Figures are means over seeds, each seed a start and trainings of its own, ± their standard
deviation. What each depth costs, `python -m tests.benchmarks.rank --parts scoring --candidates 200` prints.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from services.trainer.assembly import CorpusOptions
from services.trainer.bootstrap import over_seeds
from services.trainer.corpora import open_corpus
from services.trainer.corpus import TEST, Corpus
from services.trainer.evaluation import Evaluation
from services.trainer.fitting import Around
from services.trainer.recipes import DEEP, QUICK, named
from services.trainer.starts import start_at
from services.trainer.training import Target, Trained, train
from shared.model.base import PACKAGED_ID, Base, load_base
from shared.model.version_files import Place
from shared.model.zero_shot import ZERO_SHOT

_METRICS = ("auc", "mrr", "ndcg@10")
_Row = tuple[str, Evaluation, float]
"""Name, figures, seconds of training."""


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--k", type=int, nargs="*", default=[4, 2, 0])
    parser.add_argument("--steps", type=int, default=80, help="of each training after the first")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    parser.add_argument("--start", type=Path, help="folder of a version by quick, in place of the first training")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base, corpus = load_base(PACKAGED_ID), open_corpus(None, CorpusOptions())
    runs: list[list[_Row]] = []
    for seed in map(int, arguments.seeds.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            runs.append([])
            for row in _rows(corpus, base, arguments, seed, Path(temporary)):
                runs[-1].append(row)
                print(f"seed {seed}: {_line([row])}", flush=True)
    print(f"\n| k | {' | '.join(_METRICS)} | training s |\n|---|{'---:|' * (len(_METRICS) + 1)}")
    for same in zip(*runs, strict=True):
        print(_line(list(same)))


def _rows(corpus: Corpus, base: Base, arguments: argparse.Namespace, seed: int, registry: Path) -> Iterator[_Row]:
    """The untrained model, then a trained one for each k."""

    def target(k: int) -> Target:
        return Target(registry, "depth", f"k{k}", registry / "work")

    start = arguments.start
    if start is None:
        quick = replace(named(QUICK, base), seed=seed, fusion=False)
        first = train(corpus, base, quick, target(base.layers))
        yield f"{base.layers}, nothing trained", _of(first, ZERO_SHOT), 0.0
        yield f"{base.layers}", _of(first, f"depth/k{base.layers}"), first.fitted.seconds
        start = first.folder
    around = Around(start=start_at(Place.of(start), base.layers))
    steps = arguments.steps
    deep = replace(named(DEEP, base), seed=seed, fusion=False, most_steps=steps, evaluate_every=steps, patience=0)
    deep = replace(deep, most_valid_slates=150)
    for k in arguments.k:
        trained = train(corpus, base, replace(deep, layout=replace(deep.layout, split_depth=k)), target(k), around)
        yield f"{k}", _of(trained, f"depth/k{k}"), trained.fitted.seconds


def _of(trained: Trained, scorer: str) -> Evaluation:
    return next(each for each in trained.evaluations if (each.split, each.scorer) == (TEST, scorer))


def _line(rows: list[_Row]) -> str:
    cells = []
    for metric in _METRICS:
        found = [each.metric(metric) for _, each, _ in rows]
        spread = over_seeds([each.value for each in found if each is not None])
        cells.append(f"{spread.mean:.3f}" + (f" ± {spread.deviation:.3f}" if len(rows) > 1 else ""))
    seconds = sum(each for _, _, each in rows) / len(rows)
    return f"| {rows[0][0]} | {' | '.join(cells)} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
