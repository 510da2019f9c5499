"""`python -m tests.benchmarks.quality.movielens --data DIR`: what each signal, and a blend of them, is worth on films.

DIR holds MovieLens ratings and two fixed tests beside them, impressions.test-uniform.jsonl and -popular.jsonl. Nothing
after the first moment of the tests is known to any row. A fusion is fitted on the last tenth of what lies before that
moment, by signals that know only what lies before the tenth, and once for each kind of negatives; then its signals are
fitted again on all that lies before the tests. Figures are mean ± standard deviation over seeds, which draw the
validation slates and train the tower; rows that draw nothing have no deviation.

The second table leaves out the slates whose liked film had no act before the tests. Popular negatives are drawn by
acts, so among them such a film gives itself away to whatever reads popularity, a fusion above all.
"""

import argparse
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.trainer.assembly import CorpusOptions
from services.trainer.attention_tower import AttentionTowerOptions, fit_attention_tower
from services.trainer.baselines import CosineScorer, fit_popularity, fit_recent_popularity, item_vectors
from services.trainer.bootstrap import Resampling, Spread, over_seeds
from services.trainer.corpora import open_corpus
from services.trainer.corpus import Corpus
from services.trainer.evaluation import Evaluation, EvaluationOptions, ExampleScorer, evaluate
from services.trainer.fusion import FusedScorer, fit_fused
from services.trainer.item_knn import fit_item_knn
from services.trainer.scored_once import ScoredOnce
from services.trainer.served_scorer import ServedScorer
from shared.model.base import PACKAGED_ID, load_base
from shared.model.manifest import Metric
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.ranking_model import RankingModel
from shared.model.versions import load_version
from shared.model.zero_shot import zero_shot_model

_NEGATIVES = ("uniform", "popular")
_METRICS = ("auc", "mrr", "ndcg@10")
_COUNTED = ("popularity", "recent popularity", "item-kNN")
_COSINES = ("cosine to likes", "cosine to likes less dislikes")
_TOWER, _MODEL = "attention tower", "model"
_KNN_HISTORY = 1000
"""Item-kNN gains by all that a user ever liked; the others read the newest entries only."""
_SHOWN_DEVIATION = 5e-4
"""What three digits can show."""
_NO_INTERVALS = EvaluationOptions(resampling=Resampling(draws=1))

Rows = Mapping[tuple[str, str], Evaluation]
"""By the scorer's name and the kind of negatives."""


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """What does not depend on the seed."""

    data: Path
    vectors: NDArray[np.float32]
    """[items, width], of length 1; items and their order do not depend on how a corpus is cut."""
    model: RankingModel | None


def main() -> None:
    """See above."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    sources = _sources(arguments.data, arguments.model)
    runs = [_rows(sources, seed) for seed in seeds]
    title = f"{arguments.data.resolve().name}, {len(seeds)} seeds"
    _table(title, runs, _whole)
    _table(f"{title}, films that were known", runs, _known)


def _table(title: str, runs: Sequence[Rows], figure: Callable[[Evaluation, str], float]) -> None:
    print(f"\n### {title}\n")
    print("| scorer |" + "".join(f" {kind} {metric} |" for kind in _NEGATIVES for metric in _METRICS))
    print("|---|" + "---:|" * (len(_NEGATIVES) * len(_METRICS)))
    for name in dict.fromkeys(scorer for scorer, _ in runs[0]):
        cells = [
            _cell(over_seeds([figure(run[name, kind], metric) for run in runs]))
            for kind in _NEGATIVES
            for metric in _METRICS
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _whole(evaluation: Evaluation, name: str) -> float:
    return _metric(evaluation, name, "").value


def _known(evaluation: Evaluation, name: str) -> float:
    """Means over slates can be taken apart: what is left of all slates without those of new films."""
    whole, new = _metric(evaluation, name, ""), _metric(evaluation, name, "new items")
    return (whole.value * whole.count - new.value * new.count) / (whole.count - new.count)


def _metric(evaluation: Evaluation, name: str, slice_: str) -> Metric:
    found = evaluation.metric(name, slice_)
    if found is None:
        raise SystemExit(f"{evaluation.split} has no {name} of {slice_ or 'all'}; is this the right data?")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    parser.add_argument(
        "--model",
        type=Path,
        help="folder of a version, trained on what lies before validation: a row, and a signal of two more fusions",
    )
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _sources(data: Path, version: Path | None) -> Sources:
    base = load_base(PACKAGED_ID)
    packed = PackedBert(base.bert, Placement())
    _note(f"encoding the items of {data}")
    vectors = item_vectors(open_corpus(data, CorpusOptions()).items, zero_shot_model(base, packed))
    return Sources(data, vectors, load_version(version, base, packed) if version else None)


def _rows(sources: Sources, seed: int) -> Rows:
    """Every scorer on both tests."""
    _note(f"seed {seed}: fitting on what lies before validation")
    early = open_corpus(sources.data, CorpusOptions(valid_share=0.1, max_history=_KNN_HISTORY, seed=seed))
    before_valid = _signals(sources, early, seed)
    _note(f"seed {seed}: fitting on what lies before the tests")
    late = open_corpus(sources.data, CorpusOptions(valid_share=0.0, max_history=_KNN_HISTORY, seed=seed))
    before_test = _signals(sources, late, seed)
    found: dict[tuple[str, str], Evaluation] = {}
    for kind in _NEGATIVES:
        scorers = list(before_test.values())
        for name, chosen in _fusions(before_test).items():
            fused = fit_fused(early, f"valid-{kind}", [before_valid[signal] for signal in chosen], name)
            again = tuple(before_test[signal] for signal in chosen)
            scorers.append(FusedScorer(late, again, fused.fusion, name))
        for scorer in scorers:
            found[scorer.name, kind] = evaluate(scorer, late, f"test-{kind}", _NO_INTERVALS)
    return found


def _signals(sources: Sources, corpus: Corpus, seed: int) -> dict[str, ExampleScorer]:
    """By name."""
    likes, both = _COSINES
    signals: list[ExampleScorer] = [
        fit_popularity(corpus),
        fit_recent_popularity(corpus),
        fit_item_knn(corpus),
        CosineScorer(sources.vectors, dislike_weight=0.0, name=likes),
        CosineScorer(sources.vectors, name=both),
        fit_attention_tower(corpus, sources.vectors, AttentionTowerOptions(seed=seed)),
    ]
    if sources.model:
        signals.append(ServedScorer(corpus, sources.model, _MODEL))
    return {signal.name: ScoredOnce(signal) for signal in signals}


def _fusions(signals: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Names of the signals of each fusion."""
    counted = (*_COUNTED, *_COSINES)
    found = {"fusion without the tower": counted, "fusion": (*counted, _TOWER)}
    if _MODEL in signals:
        found |= {"fusion, model for tower": (*counted, _MODEL), "fusion with the model": (*counted, _TOWER, _MODEL)}
    return found


def _cell(spread: Spread) -> str:
    return f"{spread.mean:.3f}" + (f" ± {spread.deviation:.3f}" if spread.deviation >= _SHOWN_DEVIATION else "")


def _note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
