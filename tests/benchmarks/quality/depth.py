"""`python -m tests.benchmarks.quality.depth`: quality against split depth k, on the generated world.

The recipe "quick" trains a version whose candidates never meet the user (k = all layers). Then the same adapter goes
on where candidates meet the user in the upper layers (k = two thirds, one third) or in all (k = 0), by the recipe
"deep" with as many steps for each. All are measured on the test split by the code that serves them. What each costs,
`python -m tests.benchmarks.rank` prints.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.corpus import TEST
from services.trainer.fitting import Around
from services.trainer.recipes import DEEP, QUICK, named
from services.trainer.reports import markdown_table
from services.trainer.starts import start_at
from services.trainer.training import Target, Trained, train
from shared.model.base import PACKAGED_ID, load_base
from shared.model.version_files import Place


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--k", type=int, nargs="*", default=[4, 2, 0])
    parser.add_argument("--steps", type=int, default=80, help="of each training after the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="folder of a version by quick, in place of the first training")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of training")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base, corpus = load_base(PACKAGED_ID), open_corpus(None, CorpusOptions())
    common = {"seed": arguments.seed, "precision": arguments.precision, "fusion": False}
    with tempfile.TemporaryDirectory() as temporary:
        registry = Path(temporary)
        start = arguments.start
        if start is None:
            quick = replace(named(QUICK, base), **common)
            trained = train(corpus, base, quick, Target(registry, "depth", f"k{base.layers}", registry / "work"))
            _show(f"k = {base.layers}", trained)
            start = trained.folder
        around = Around(start=start_at(Place.of(start), base.layers))
        deep = replace(named(DEEP, base), **common, most_steps=arguments.steps, patience=0)
        for k in arguments.k:
            recipe = replace(deep, layout=replace(deep.layout, split_depth=k))
            target = Target(registry, "depth", f"k{k}", registry / "work")
            _show(f"k = {k}", train(corpus, base, recipe, target, around))


def _show(title: str, trained: Trained) -> None:
    of_test = next(each for each in trained.of_splits if each[0].split == TEST)
    print(f"\n### {title}, {trained.fitted.seconds:.0f} s of training\n\n{markdown_table(of_test)}", flush=True)


if __name__ == "__main__":
    main()
