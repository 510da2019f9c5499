"""`python -m tests.benchmarks.train`: training samples a second, beside plain pair-wise training on the same slates.

A sample is one candidate of one slate through forward, backward and optimizer. Both sides take the same slates with
the same tokens, the same base, adapter and optimizer, in turns; the figures are medians.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from services.trainer.batches import CorpusTokens, make_batch
from services.trainer.corpus import Example, Past
from services.trainer.losses import objective_of
from services.trainer.recipe import TrainRecipe
from services.trainer.training_model import TrainingModel
from shared.model.base import PACKAGED_ID, load_base
from shared.model.manifest import InputLayout
from shared.model.tokens import TokenIds, Tokeniser
from tests.benchmarks.rank.measuring import interleaved
from tests.benchmarks.train.pairwise import Pairwise

_ITEMS = 2000


@dataclass(frozen=True, slots=True)
class Work:
    """What a step learns from."""

    slates: int
    candidates: int
    history: int
    """Entries; about 12 tokens each."""


def main() -> None:
    """See above."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    base = load_base(PACKAGED_ID)
    print(f"\n### Training, {PACKAGED_ID}, {arguments.device}, {arguments.precision}\n")
    print("| slates x candidates | user tokens | way | k | samples/s | x plain |")
    print("|---|---:|---|---:|---:|---:|")
    for candidates in arguments.candidates:
        work = Work(arguments.slates, candidates, history=12)
        recipe = TrainRecipe(precision=arguments.precision)
        examples, tokens = _made(work, Tokeniser(base.tokenizer, recipe.layout))
        bare = Pairwise(base, recipe, 1, arguments.pairs).to(device).train()
        sides: dict[str, Callable[[], object]] = {
            "plain pairs": _step(bare, partial(bare.learn, examples, tokens), recipe, device)
        }
        for depth in arguments.k:
            layout = replace(InputLayout(), split_depth=depth)
            ours = TrainingModel(base, replace(recipe, layout=layout), 1).to(device).train()
            sides[str(depth)] = _step(ours, _learn(ours, examples, tokens), recipe, device)
        seconds = interleaved(sides, arguments.repeats, lambda _: None)
        longest = max(len(tokens.context(example.history)) for example in examples)
        for name, taken in seconds.items():
            way, k = ("plain pairs", "") if name == "plain pairs" else ("candidate isolation", name)
            rate = work.slates * work.candidates / taken
            print(
                f"| {work.slates} x {work.candidates} | {longest} | {way} | {k} | {rate:.1f} "
                f"| {seconds['plain pairs'] / taken:.2f} |",
                flush=True,
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slates", type=int, default=8)
    parser.add_argument("--candidates", type=int, nargs="+", default=[5, 10, 30])
    parser.add_argument("--k", type=int, nargs="+", default=[0, 2, 4, 6])
    parser.add_argument("--pairs", type=int, default=32, help="that the plain way computes at once")
    parser.add_argument("--repeats", type=int, default=5)
    return parser


def _made(work: Work, tokeniser: Tokeniser) -> tuple[list[Example], CorpusTokens]:
    """Titles of 5 to 20 tokens, drawn from one seed; different users, items that seldom repeat."""
    random = np.random.default_rng(0)
    plain: list[TokenIds] = [
        tuple(random.integers(1000, 30_000, size).tolist()) for size in random.integers(5, 20, _ITEMS)
    ]
    tokens = CorpusTokens(tuple(tokeniser.candidate(ids) for ids in plain), tuple(plain), tokeniser)
    examples = [
        Example(
            impression_id=str(number),
            user=str(number),
            time=None,
            history=tuple(Past(int(item), "click", None) for item in random.integers(0, _ITEMS, work.history)),
            candidates=random.choice(_ITEMS, work.candidates, replace=False).astype(np.int32),
            labels=(np.arange(work.candidates) == 0).astype(np.float32)[:, None],
        )
        for number in range(work.slates)
    ]
    return examples, tokens


def _learn(model: TrainingModel, examples: list[Example], tokens: CorpusTokens) -> Callable[[], None]:
    objective = objective_of(model.recipe, examples, _ITEMS).to(model.device)

    def learn() -> None:
        batch = make_batch(examples, tokens).to(model.device)
        loss = objective(model(batch), batch, objective.counts(examples))
        loss.backward()  # type: ignore[no-untyped-call]

    return learn


def _step(
    model: torch.nn.Module, learn: Callable[[], None], recipe: TrainRecipe, device: torch.device
) -> Callable[[], None]:
    """One step from slates to changed weights; waits for the device."""
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-5)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            learn()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    main()
