"""`python -m tests.benchmarks.quality.tallrec --data DIR`: will the user like the film, learnt from few rows?

The task of TALLRec (arXiv 2305.00447): ten films that the user liked or disliked, then one more. DIR holds it in the
generic format, with fewshot.json: by "16-shot seed 0" the numbers of the training rows that may be used. Nothing but
those rows is learnt from, neither their neighbours nor validation; encoder and settings are the same for all. Figures
are the AUC over all candidates and the mean of each user's, mean ± standard deviation over the draws of rows.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.trainer.assembly import CorpusOptions
from services.trainer.baselines import CosineScorer, item_vectors
from services.trainer.bootstrap import Resampling
from services.trainer.corpora import open_corpus
from services.trainer.corpus import TEST, Corpus
from services.trainer.evaluation import Evaluation, EvaluationOptions, ExampleScorer, evaluate, spread_of
from services.trainer.fusion import FusedScorer
from services.trainer.opinions import LikingOdds, fit_quality
from services.trainer.stacking import NAME, StackingOptions, fit_stacked
from shared.model.base import PACKAGED_ID, load_base
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.zero_shot import zero_shot_model

_SHOTS = (16, 64, 256)
_METRICS = ("pooled_auc", "uauc")
_NO_INTERVALS = EvaluationOptions(resampling=Resampling(draws=1))
_RECENT = LikingOdds(decay=0.9, prior=0.7, name="recent liking odds")
_OPTIONS = StackingOptions(never_negative=("text quality", "crowd quality"))


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What all rows of the table share."""

    data: Path
    vectors: NDArray[np.float32]
    """[items, width], of length 1."""

    def corpus(self, rows: Sequence[int] | None) -> Corpus:
        """With these rows of train; None = all."""
        chosen = None if rows is None else tuple(rows)
        return open_corpus(self.data, CorpusOptions(label_action="like", same_second=True, train_rows=chosen))

    def untrained(self) -> tuple[ExampleScorer, ...]:
        """What needs no rows."""
        return (LikingOdds(), _RECENT, CosineScorer(self.vectors))

    def stacked(self, corpus: Corpus) -> FusedScorer:
        """What is learnt of its training rows."""
        return fit_stacked(corpus, self.untrained(), lambda opinions: fit_quality(opinions, self.vectors), _OPTIONS)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    setup = _setup(arguments.data)
    drawn = json.loads((arguments.data / "fewshot.json").read_text())
    print(f"\n### {arguments.data.resolve().name}\n\n| scorer | rows | AUC | UAUC |\n|---|---:|---:|---:|")
    whole = setup.corpus(None)
    for scorer in setup.untrained():
        _line(scorer.name, "none", [_measured(scorer, whole)])
    for shots in _SHOTS:
        found = []
        for name in [each for each in drawn if each.startswith(f"{shots}-shot ")]:
            corpus = setup.corpus(drawn[name])
            found.append(_measured(setup.stacked(corpus), corpus))
        _line(NAME, str(shots), found)
    _line(NAME, "all", [_measured(setup.stacked(whole), whole)])


def _setup(data: Path) -> Setup:
    base = load_base(PACKAGED_ID)
    model = zero_shot_model(base, PackedBert(base.bert, Placement()))
    items = open_corpus(data, CorpusOptions(label_action="like", same_second=True)).items
    return Setup(data, item_vectors(items, model))


def _measured(scorer: ExampleScorer, corpus: Corpus) -> Evaluation:
    return evaluate(scorer, corpus, TEST, _NO_INTERVALS)


def _line(name: str, rows: str, found: Sequence[Evaluation]) -> None:
    cells = []
    for metric in _METRICS:
        spread = spread_of(found, metric)
        if spread is not None:
            cells.append(f"{spread.mean:.4f}" + (f" ± {spread.deviation:.4f}" if len(found) > 1 else ""))
    print(f"| {name} | {rows} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
