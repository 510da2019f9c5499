"""Fine-tuning: steps of AdamW until the plan is done or validation stops getting better.

All that a step does follows from its number, the recipe and the weights before it; so a training that was killed and
resumed ends with the weights of one that was not. So does one whose steps are accumulated from parts or spread over
processes, up to rounding, but for the loss in_batch_softmax, which compares users with the items of their part alone.
"""

import hashlib
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from services.trainer.adapters import allocate, importance, regularisation, restore_importance
from services.trainer.batches import CorpusTokens, Order, make_batch, tokenise
from services.trainer.calibration import starting_bias
from services.trainer.checkpoints import Best, Checkpoint, last_checkpoint, save_checkpoint
from services.trainer.corpus import TRAIN, VALID, Corpus, Example
from services.trainer.distributed import Processes
from services.trainer.losses import objective_of
from services.trainer.prediction import autocast, measured, predict
from services.trainer.recipe import TrainRecipe, with_propensities
from services.trainer.starts import Start
from services.trainer.tracking import Observer, Observers, Point, Stepped
from services.trainer.training_model import TrainingModel
from shared.clock import Clock, SystemClock
from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.records import encoded

_FIRST_SLATES = 64
"""From which the bias of the heads is set before the first step."""
_ADAM_EPSILON = 1e-6
"""BERT's own. Gradients that are mere rounding, as of a bias under a softmax, must not become steps."""


class DivergedError(ArithmeticError):
    """A loss that is not finite; the text is one sentence for whoever wrote the recipe."""


class NothingToLearnError(ValueError):
    """A corpus without anything to train on; the text is one sentence for whoever brought it."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a training does not depend on, but for where it begins."""

    processes: Processes = field(default_factory=Processes)
    observer: Observer = field(default_factory=Observers)
    clock: Clock = field(default_factory=SystemClock)
    start: Start | None = None
    """None = the base."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A trained model: `model` has the weights of the best step and is in evaluation mode."""

    model: TrainingModel
    tokens: CorpusTokens
    actions: tuple[str, ...]
    best_step: int
    best_metric: float | None
    """None where there was nothing to validate on."""
    history: tuple[Point, ...]
    seconds: float
    """Of training, over all attempts up to their last checkpoint."""

    @property
    def recipe(self) -> TrainRecipe:
        """What it was trained by, propensities from data as the numbers that they came to."""
        return self.model.recipe

    @property
    def heads(self) -> Heads:
        """A copy of its heads."""
        return self.model.heads()

    def predict(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Logits [candidates, actions] of each example of the corpus that it was trained on; not calibrated."""
        return predict(self.model, examples, self.tokens, Processes(device=str(self.model.device)))


def fit(corpus: Corpus, base: Base, recipe: TrainRecipe, folder: Path, around: Around | None = None) -> Fitted:
    """Trains on the split "train", stops by the split "valid" where there is one.

    Args:
        corpus: the data.
        base: what is adapted; it stays as it is.
        recipe: how.
        folder: of the checkpoints; where it has some of the same recipe, data and base, training goes on from there.
            All processes must see it.
        around: device, other processes, who watches.

    Raises:
        RecipeError: when the recipe cannot be followed.
        NothingToLearnError: when the corpus has no training examples.
        CheckpointError: when the folder holds another training.
        DivergedError: when the loss is not finite any more.
    """
    around = around or Around()
    recipe.check(base, len(corpus.actions), around.processes.world)
    if around.start is not None:
        around.start.check(base, recipe.layout)
    if not corpus.splits.get(TRAIN):
        raise NothingToLearnError(f"the data set {corpus.name} has no examples to train on; bring a split {TRAIN!r}")
    recipe = with_propensities(recipe, corpus.splits[TRAIN])
    device = torch.device(around.processes.device)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return _Training(corpus, base, recipe, folder, around).run()
    finally:
        around.observer.close()


class _Training:
    """One call of `fit`."""

    def __init__(self, corpus: Corpus, base: Base, recipe: TrainRecipe, folder: Path, around: Around) -> None:
        self._corpus = corpus
        self._recipe = recipe
        self._folder = folder
        self._around = around
        self._train = corpus.splits[TRAIN]
        self._valid = _sample(corpus.splits.get(VALID, ()), recipe.most_valid_slates, recipe.seed)
        self._run = _fingerprint(corpus, base, recipe, around.start)
        self._tokens = tokenise(corpus, base.tokenizer, recipe.layout)
        self._order = Order(self._train, recipe.batch_slates, recipe.most_candidates, recipe.seed)
        self._steps = recipe.most_steps or math.ceil(recipe.epochs * len(self._train) / recipe.batch_slates)
        torch.manual_seed(recipe.seed)
        device = torch.device(around.processes.device)
        self._model = TrainingModel(base, recipe, len(corpus.actions), self._steps)
        if around.start is not None:
            around.start.give_to(self._model, corpus.actions)
        self._model.to(device)
        self._objective = objective_of(recipe, self._train, len(corpus.items)).to(device)
        self._optimizer = _optimizer(self._model, recipe)
        self._step = 0
        self._best: Best | None = None
        self._waited = 0
        self._losses: list[float] = []
        self._history: list[Point] = []
        self._seconds = 0.0
        self._began = 0.0

    def run(self) -> Fitted:
        self._began = self._around.clock.monotonic()
        if not self._resumed():
            self._set_bias()
        parallel = self._around.processes.parallel(self._model)
        while self._step < self._steps and not self._stopped:
            started = self._around.clock.monotonic()
            loss = self._learn(parallel)
            self._step += 1
            self._losses.append(loss)
            self._tell(loss, self._around.clock.monotonic() - started)
            evaluated = self._step % self._recipe.evaluate_every == 0 or self._step == self._steps
            if evaluated:
                self._evaluate()
            if evaluated or self._step % self._recipe.checkpoint_every == 0:
                self._save()
        return self._fitted()

    @property
    def _stopped(self) -> bool:
        return 0 < self._recipe.patience <= self._waited

    def _learn(self, parallel: nn.Module) -> float:
        """One step; returns its loss."""
        processes, recipe = self._around.processes, self._recipe
        # A step's random numbers are its own, so that resuming needs to restore none.
        torch.manual_seed(_step_seed(recipe.seed, self._step, processes.rank))
        for group in self._optimizer.param_groups:
            group["lr"] = group["highest"] * learning_share(self._step, self._steps, recipe.warmup_share)
        examples = self._order.of_step(self._step)
        counts = self._objective.counts(examples)
        self._model.train()
        total = 0.0
        mine = processes.share(examples)
        size = len(mine) // recipe.accumulation
        for start in range(0, len(mine), size):
            last = start + size == len(mine)
            with _gradients_kept(parallel, last=last):
                total += self._backward(parallel, mine[start : start + size], counts)
        length = nn.utils.clip_grad_norm_(self._model.parameters(), recipe.clip_norm)
        if not bool(length.isfinite()):  # of the gradient, which is the same in all processes
            raise self._diverged()
        self._optimizer.step()
        allocate(self._model.adapter, self._step)
        self._optimizer.zero_grad(set_to_none=True)
        return processes.total(total)

    def _backward(self, parallel: nn.Module, examples: Sequence[Example], counts: Tensor) -> float:
        """Adds a part's gradient; returns its loss."""
        world = self._around.processes.world
        batch = make_batch(examples, self._tokens).to(self._model.device)
        with autocast(self._model):
            logits = parallel(batch)
        loss: Tensor = self._objective(logits, batch, counts)
        extra = regularisation(self._model.adapter)
        if extra is not None:
            loss = loss + extra / (self._recipe.accumulation * world)
        (loss * world).backward()  # type: ignore[no-untyped-call]  # the mean over processes is then their sum
        return float(loss.detach())

    def _tell(self, loss: float, seconds: float) -> None:
        if self._around.processes.leads:
            rate = self._recipe.batch_slates / max(seconds, 1e-9)
            learning_rate = self._optimizer.param_groups[0]["lr"]
            self._around.observer.stepped(Stepped(self._step, self._steps, loss, learning_rate, rate))

    def _evaluate(self) -> None:
        loss = sum(self._losses) / max(len(self._losses), 1)
        self._losses = []
        metric = None
        if self._valid:
            logits = predict(self._model, self._valid, self._tokens, self._around.processes)
            if not all(np.isfinite(part).all() for part in logits):
                raise self._diverged()
            metric = measured(self._recipe.metric, logits, self._valid)
        self._history.append(Point(self._step, loss, metric))
        if metric is None or self._best is None or metric > self._best.metric:
            self._best = Best(metric or 0.0, self._step, self._model.trained())
            self._waited = 0
        else:
            self._waited += 1
        if self._around.processes.leads:
            self._around.observer.measured(self._history[-1])

    def _set_bias(self) -> None:
        """So that the first probabilities are about the rates seen, whatever the cosines of this base are."""
        examples = _sample(self._train, _FIRST_SLATES, self._recipe.seed)
        logits = np.concatenate(predict(self._model, examples, self._tokens, self._around.processes))
        labels = np.concatenate([example.labels for example in examples])
        with torch.no_grad():
            for action in range(labels.shape[1]):
                self._model.bias[action] = starting_bias(logits[:, action], labels[:, action])

    def _diverged(self) -> DivergedError:
        return DivergedError(f"training diverged by step {self._step + 1}; lower the learning rates")

    def _save(self) -> None:
        if not self._around.processes.leads:
            return
        checkpoint = Checkpoint(
            run=self._run,
            step=self._step,
            trained=self._model.trained(),
            optimizer=self._optimizer.state_dict(),
            importance=importance(self._model.adapter),
            best=self._best,
            waited=self._waited,
            losses=tuple(self._losses),
            history=tuple(self._history),
            seconds=self._so_far(),
        )
        save_checkpoint(self._folder, checkpoint)

    def _resumed(self) -> bool:
        found = last_checkpoint(self._folder, self._run)
        if found is None:
            return False
        self._model.restore(found.trained)
        self._optimizer.load_state_dict(dict(found.optimizer))
        restore_importance(self._model.adapter, found.importance)
        self._step, self._best, self._waited = found.step, found.best, found.waited
        self._losses, self._history = list(found.losses), list(found.history)
        self._seconds = found.seconds
        return True

    def _so_far(self) -> float:
        return self._seconds + self._around.clock.monotonic() - self._began

    def _fitted(self) -> Fitted:
        best = self._best
        if best is not None:
            self._model.restore(best.trained)
        return Fitted(
            model=self._model.eval(),
            tokens=self._tokens,
            actions=self._corpus.actions,
            best_step=self._step if best is None else best.step,
            best_metric=best.metric if best is not None and self._valid else None,
            history=tuple(self._history),
            seconds=self._so_far(),
        )


def learning_share(step: int, steps: int, warmup_share: float) -> float:
    """Of the highest learning rate, for step number `step` from 0: up in a line, then down to nearly nothing."""
    warmup = round(steps * warmup_share)
    return (step + 1) / (warmup + 1) if step < warmup else (steps - step) / (steps - warmup)


def _optimizer(model: TrainingModel, recipe: TrainRecipe) -> torch.optim.AdamW:
    """Matrices decay; numbers and vectors (biases, scales) do not."""
    heads = {id(parameter) for parameter in model.parameters(recurse=False)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [one for one in trained if id(one) in heads and one.ndim > 1]
    vectors = [one for one in trained if id(one) in heads and one.ndim <= 1]
    adapter = [one for one in trained if id(one) not in heads]
    groups = [
        {"params": adapter, "highest": recipe.learning_rate, "weight_decay": recipe.weight_decay},
        {"params": matrices, "highest": recipe.heads_learning_rate, "weight_decay": recipe.weight_decay},
        {"params": vectors, "highest": recipe.heads_learning_rate, "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    return torch.optim.AdamW(used, lr=recipe.learning_rate, eps=_ADAM_EPSILON)


def _gradients_kept(parallel: nn.Module, *, last: bool) -> "nullcontext[None]":
    """Processes exchange gradients once a step, with the last part."""
    if isinstance(parallel, DistributedDataParallel) and not last:
        return parallel.no_sync()  # type: ignore[return-value]
    return nullcontext()


def _sample(examples: Sequence[Example], most: int, seed: int) -> Sequence[Example]:
    """At most so many, drawn evenly, in their order."""
    if len(examples) <= most:
        return examples
    rows = np.random.default_rng([seed, len(examples)]).choice(len(examples), most, replace=False)
    return [examples[row] for row in np.sort(rows)]


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _fingerprint(corpus: Corpus, base: Base, recipe: TrainRecipe, start: Start | None) -> str:
    digest = hashlib.blake2b(encoded(recipe), digest_size=16)
    digest.update(f"{corpus.fingerprint} {base.sha256}".encode())
    if start is not None:
        digest.update(start.fingerprint.encode())
    return digest.hexdigest()
