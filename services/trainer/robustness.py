"""What a scorer's answers are worth when texts are not as they should be: misspelt, shouting, cut, or about something
else altogether. The same slates are scored twice, with the items as they are and with items whose titles were changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from services.trainer.corpus import Corpus
from services.trainer.evaluation import ExampleScorer
from services.trainer.ranking_metrics import Slates, placements, slate_figures, slates_of
from shared.datasets import Item, WorldConfig, generate_world

ScorerFactory = Callable[[Sequence[Item]], ExampleScorer]
"""A scorer that reads these items, as many as the corpus has and in its order."""
Change = Callable[[str, Generator], str]

_TYPO_SHARE = 0.1
"""Of the letters of a title; at least one typo."""
_DROPPED_SHARE = 0.3
"""Of the words of a title; at least one word stays."""
_SMALL_WORLD = WorldConfig(items=400, users=1, sessions=0.0)


@dataclass(frozen=True, slots=True)
class Shift:
    """What a change of all titles did to a scorer."""

    change: str
    mean_abs_change: float
    """Mean |difference| of candidates' scores; of probabilities where the scorer gives some."""
    metric: str
    """ndcg@10, or pooled_auc (over all candidates together) where no impression has a ranking of its own."""
    before: float | None
    """The metric as it was; None where all labels are alike and there is nothing to measure."""
    lost: float | None
    """By how much it fell; below 0 where it rose."""


def with_typos(title: str, generator: Generator) -> str:
    """Letters swapped with the next, dropped or doubled."""
    letters = list(title)
    for _ in range(max(1, round(len(letters) * _TYPO_SHARE)) if len(letters) > 1 else 0):
        at = int(generator.integers(len(letters) - 1))
        kind = int(generator.integers(3)) if len(letters) > 2 else 0
        swapped = [letters[at + 1], letters[at]]
        letters[at : at + 2] = (swapped, letters[at + 1 : at + 2], [letters[at], *letters[at : at + 2]])[kind]
    return "".join(letters)


def upper_case(title: str, _: Generator) -> str:
    """ALL LETTERS LARGE."""
    return title.upper()


def lower_case(title: str, _: Generator) -> str:
    """all letters small."""
    return title.lower()


def with_words_dropped(title: str, generator: Generator) -> str:
    """Words left out by chance."""
    words = title.split()
    kept = generator.random(len(words)) >= _DROPPED_SHARE
    if words and not kept.any():
        kept[int(generator.integers(len(words)))] = True
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)


CHANGES: tuple[tuple[str, Change], ...] = (
    ("typos", with_typos),
    ("upper case", upper_case),
    ("lower case", lower_case),
    ("words dropped", with_words_dropped),
)


def changed_items(items: Sequence[Item], change: Change, seed: int) -> tuple[Item, ...]:
    """Items with changed titles; a title that nothing would be left of stays."""
    generator = np.random.default_rng(seed)
    return tuple(replace(item, title=change(item.title, generator) or item.title) for item in items)


def of_another_domain(items: Sequence[Item], seed: int) -> tuple[Item, ...]:
    """Items with titles (and categories) drawn from items of another domain, or, where the corpus has only one, from
    the generated world. What is left to go by is nothing: the loss says how much came from texts."""
    generator = np.random.default_rng(seed)
    domains = {item.domain for item in items}
    others = items if len(domains) > 1 else generate_world(_SMALL_WORLD).items
    foreign = {domain: [item for item in others if item.domain != domain] for domain in domains}
    drawn = ((item, foreign[item.domain]) for item in items)
    pairs = ((item, others[int(generator.integers(len(others)))]) for item, others in drawn)
    return tuple(replace(item, title=other.title, category=other.category) for item, other in pairs)


def robustness(make: ScorerFactory, corpus: Corpus, split: str, seed: int = 0) -> tuple[Shift, ...]:
    """One row for each change, the titles of another domain last.

    Raises:
        ValueError: when the split has no examples, or a scorer does not give one finite number for each candidate.
    """
    examples = corpus.splits.get(split, ())
    if not examples:
        raise ValueError(f"{corpus.name} has no examples in a split {split!r}")
    labels = [example.labels[:, 0] for example in examples]

    def scored(items: Sequence[Item]) -> Slates:
        return slates_of(make(items).scores(examples), labels)

    before = scored(corpus.items)
    changed = [(name, changed_items(corpus.items, change, seed)) for name, change in CHANGES]
    changed.append(("another domain", of_another_domain(corpus.items, seed)))
    return tuple(_shift(name, before, scored(items)) for name, items in changed)


def robustness_rows(shifts: Sequence[Shift]) -> list[list[str]]:
    """A table of at least one change, its head first."""
    metric = shifts[0].metric
    head = ["change of titles", "mean abs. change of p", f"{metric} before", f"{metric} lost"]
    cells = [
        [each.change, f"{each.mean_abs_change:.4f}", _cell(each.before, ".4f"), _cell(each.lost, "+.4f")]
        for each in shifts
    ]
    return [head, *cells]


def robustness_markdown(shifts: Sequence[Shift]) -> str:
    """The same in markdown."""
    head, *rows = (f"| {' | '.join(row)} |" for row in robustness_rows(shifts))
    return "\n".join([head, "|---|---|---|---|", *rows]) + "\n"


def _cell(figure: float | None, form: str) -> str:
    return "–" if figure is None else format(figure, form)


def _shift(name: str, before: Slates, after: Slates) -> Shift:
    metric, was = _quality(before)
    _, became = _quality(after)
    lost = was - became if was is not None and became is not None else None
    return Shift(name, float(np.abs(after.scores - before.scores).mean()), metric, was, lost)


def _quality(slates: Slates) -> tuple[str, float | None]:
    """The metric that these labels allow, and its value; None where they are all alike."""
    ndcg = slate_figures(slates, (10,), ()).ndcg[0]
    if np.isfinite(ndcg).any():
        return "ndcg@10", float(np.nanmean(ndcg))
    known = slates.labelled()
    positive = known.labels > 0
    if positive.all() or not positive.any():
        return "pooled_auc", None
    return "pooled_auc", float(placements(known.scores, positive)[positive].mean())
