"""Other ways to score the same pairs: a cross-encoder that reads user and candidate together, once per candidate.

All run the same weights from one folder, each through its own public interface, with its default batch size of 32
pairs, from text to scores: their users pay for tokenisation too. Scores are logits, so that the ways can be compared.
A package is imported by the first score, and only plain transformers is always there.
"""

import asyncio
import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedTokenizerBase

from shared.model.base import Base
from shared.model.placement import Placement

MAX_PAIR_TOKENS = 512


@dataclass(frozen=True, slots=True)
class RivalSetup:
    """Weights of `save_cross_encoder`, and how to run them: in bfloat16 the weights themselves are bfloat16."""

    folder: Path
    placement: Placement
    batch_size: int = 32
    """Pairs; 32 is the default of sentence-transformers and of infinity-emb. A GPU wants more."""

    @property
    def dtype(self) -> torch.dtype:
        """PyTorch's name for it."""
        return torch.bfloat16 if self.placement.dtype == "bfloat16" else torch.float32


class Rival(Protocol):
    """A way to score pairs. The first call loads and warms, so it must not be timed."""

    @property
    def name(self) -> str:
        """For the table."""

    @property
    def why_missing(self) -> str | None:
        """What to install before `scores` may be called; None when it is there."""

    def scores(self, user: str, candidates: Sequence[str]) -> list[float]:
        """The logit of each pair (user, candidate), in the order of `candidates`."""


@contextmanager
def rivals(setup: RivalSetup) -> Iterator[tuple[Rival, ...]]:
    """All of them, those that are not installed included; afterwards they must not be used."""
    infinity = Infinity(setup)
    try:
        yield PlainTransformers(setup), SentenceTransformers(setup), infinity
    finally:
        infinity.close()


def save_cross_encoder(base: Base, folder: Path, seed: int) -> None:
    """Writes the base with a classification head of one label, drawn from the seed, and its tokenizer.

    What is timed does not depend on the head's values, but equal scores prove that rivals compute the same.
    """
    config = copy.deepcopy(base.bert.config)
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    # The head and the pooler before it are not part of a base.
    model.bert.load_state_dict(base.bert.state_dict(), strict=False)
    model.save_pretrained(folder)
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.model_max_length = MAX_PAIR_TOKENS
    tokenizer.save_pretrained(folder)


class PlainTransformers:
    """BertForSequenceClassification on batches sorted by length, so that little is padding."""

    name = "transformers, padded"
    why_missing = None

    def __init__(self, setup: RivalSetup) -> None:
        self._setup = setup

    def scores(self, user: str, candidates: Sequence[str]) -> list[float]:
        """Logits by one forward pass per batch."""
        pairs = self._tokenizer(
            [user] * len(candidates), list(candidates), truncation=True, max_length=MAX_PAIR_TOKENS, padding=False
        )
        order = sorted(range(len(candidates)), key=lambda row: len(pairs["input_ids"][row]))
        logits = torch.empty(len(candidates))
        for start in range(0, len(order), self._setup.batch_size):
            rows = order[start : start + self._setup.batch_size]
            batch = self._tokenizer.pad(
                {name: [values[row] for row in rows] for name, values in pairs.items()}, return_tensors="pt"
            )
            with torch.inference_mode():
                logits[rows] = self._model(**batch.to(self._model.device)).logits[:, 0].float().cpu()
        scores: list[float] = logits.tolist()
        return scores

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(self._setup.folder)

    @cached_property
    def _model(self) -> Any:
        model: Any = BertForSequenceClassification.from_pretrained(self._setup.folder, attn_implementation="sdpa")
        return model.to(device=self._setup.placement.device, dtype=self._setup.dtype).eval()


class SentenceTransformers:
    """`CrossEncoder.predict`, which sorts by length itself."""

    name = "sentence-transformers CrossEncoder.predict"

    def __init__(self, setup: RivalSetup) -> None:
        self._setup = setup

    @property
    def why_missing(self) -> str | None:
        """Needs one package."""
        return None if find_spec("sentence_transformers") else "pip install sentence-transformers"

    def scores(self, user: str, candidates: Sequence[str]) -> list[float]:
        """Logits by one call."""
        scores: list[float] = self._model.predict(
            [(user, candidate) for candidate in candidates],
            batch_size=self._setup.batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        ).tolist()
        return scores

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(str(self._setup.folder), device=self._setup.placement.device, max_length=MAX_PAIR_TOKENS)
        return model.to(dtype=self._setup.dtype)


class Infinity:
    """infinity-emb's engine, called as its server calls it, without the HTTP.

    Its package asks for numpy 1 and sentence-transformers 3, yet runs unchanged beside ours, hence --no-deps. Its
    default, bettertransformer, needs transformers before 4.49: with those it was no faster, and nor was torch.compile.
    """

    name = "infinity-emb rerank"

    def __init__(self, setup: RivalSetup) -> None:
        self._setup = setup
        self._loop = asyncio.Runner()

    @property
    def why_missing(self) -> str | None:
        """Builds on sentence-transformers, and on requests without saying so."""
        if all(map(find_spec, ("infinity_emb", "sentence_transformers", "requests"))):
            return None
        return "pip install sentence-transformers requests && pip install --no-deps infinity-emb==0.0.78"

    def scores(self, user: str, candidates: Sequence[str]) -> list[float]:
        """Logits by one call; it answers best first, so they are put back into order."""
        ranked, _ = self._loop.run(self._engine.rerank(query=user, docs=list(candidates), raw_scores=True))
        return [float(pair.relevance_score) for pair in sorted(ranked, key=lambda pair: pair.index)]

    def close(self) -> None:
        """Stops the engine's threads, without which the process would not end."""
        if "_engine" in vars(self):
            self._loop.run(self._engine.astop())
        self._loop.close()

    @cached_property
    def _engine(self) -> Any:
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        # Its import sets the root logger to INFO, at which it tells of every start.
        logging.getLogger().setLevel(logging.WARNING)
        arguments = EngineArgs(
            model_name_or_path=str(self._setup.folder),
            batch_size=self._setup.batch_size,
            engine="torch",
            device=self._setup.placement.device,
            dtype=self._setup.placement.dtype,
            bettertransformer=False,
            compile=False,
            model_warmup=False,  # with 512 tokens, which no pair has
        )
        engine = AsyncEmbeddingEngine.from_args(arguments)
        self._loop.run(engine.astart())
        return engine
