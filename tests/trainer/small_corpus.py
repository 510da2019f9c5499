"""A tiny separable data set: users like one of two topics and click what is of it; every second click is a like."""

from collections.abc import Sequence

import numpy as np

from services.trainer.corpus import TRAIN, VALID, Corpus, Example, Past
from services.trainer.fitting import Fitted
from services.trainer.recipe import TrainRecipe
from shared.datasets import Item
from shared.model.manifest import InputLayout, Platt

TOPICS = (("bicycle", "race", "sport"), ("bank", "interest", "money"))
LAYOUT = InputLayout(max_user_tokens=32, max_candidate_tokens=16, candidate_offset=32, split_depth=1)
RECIPE = TrainRecipe(
    layout=LAYOUT,
    rank=4,
    lora_dropout=0.1,
    batch_slates=8,
    epochs=6,
    learning_rate=3e-3,
    heads_learning_rate=3e-2,
    evaluate_every=10,
    checkpoint_every=4,
    patience=0,
    fusion=False,
)


def small_items(seed: int = 0) -> tuple[Item, ...]:
    """40 items, topics in turn, titles of 1 to 6 words."""
    random = np.random.default_rng(seed)
    titles = [" ".join(random.choice(TOPICS[number % 2], 1 + number % 6)) for number in range(40)]
    return tuple(Item(f"i{number}", title, category="news") for number, title in enumerate(titles))


def small_example(number: int, random: np.random.Generator, candidates: int = 4) -> Example:
    """One user in eight has no history."""
    topic = int(random.integers(2))
    history = [] if number % 8 == 7 else 2 * random.integers(0, 20, 1 + number % 5) + topic
    shown = random.choice(40, candidates, replace=False)
    clicked = (shown % 2 == topic).astype(np.float32)
    liked = np.where(clicked == 1, shown // 2 % 2, np.nan).astype(np.float32)
    return Example(
        impression_id=str(number),
        user=f"u{number}",
        time=float(number),
        history=tuple(Past(int(item), "click", None) for item in history),
        candidates=shown.astype(np.int32),
        labels=np.stack([clicked, liked], axis=1),
    )


def small_corpus(train: int = 64, valid: int = 32, candidates: int = 4) -> Corpus:
    """With two actions; nothing known of likes where there was no click."""
    random = np.random.default_rng(1)
    examples = [small_example(number, random, candidates) for number in range(train + valid)]
    splits = {TRAIN: tuple(examples[:train]), VALID: tuple(examples[train:])}
    return Corpus("small", small_items(), ("click", "like"), splits, (), "0" * 32, {})


def training_scores(fitted: Fitted, platts: Sequence[Platt], examples: Sequence[Example]) -> np.ndarray:
    """Probabilities [candidates, actions] by the model in training, whatever serving makes of it."""
    logits = np.concatenate(fitted.predict(examples)).astype(np.float64)
    slopes, intercepts = ([getattr(platt, name) for platt in platts] for name in ("slope", "intercept"))
    return 1 / (1 + np.exp(-(logits * np.array(slopes) + np.array(intercepts))))
