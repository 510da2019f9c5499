"""`python -m tests.benchmarks.quality.ceiling`: how good a ranking of the generated world can be at all.

Scores every candidate of the test split by the chance of a click that the simulator gave it, but for the place and the
noise, which nobody can know: what the user cares for at that moment, the favourite domains, the item's appeal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.corpus import TEST, Corpus, Example
from services.trainer.evaluation import EvaluationOptions, evaluate
from services.trainer.reports import data_line, markdown_table
from shared.datasets.behaviour import Person, make_person, relevance
from shared.datasets.catalogue import DAY_S, DOMAINS, Work, write_catalogue
from shared.datasets.draws import Draws
from shared.datasets.generated import WorldConfig


@dataclass(frozen=True, slots=True, eq=False)
class TrueChances:
    """The simulator's own logits; see `Diary._react` in shared.datasets.behaviour."""

    corpus: Corpus
    config: WorldConfig
    works: dict[str, Work]
    name: str = "the world's own chances"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example."""
        return [self._of(example) for example in examples]

    def _of(self, example: Example) -> NDArray[np.float32]:
        if example.time is None:
            raise SystemExit("the generated world tells every slate's time")
        number = int(example.user.removeprefix("user-"))
        person = make_person(Draws(self.config.seed, "user", number), example.user)
        days_left = (self.config.now - example.time) / DAY_S
        taste = person.taste_at(1.0 - days_left / self.config.days, days_left)
        shown = [self.works[self.corpus.items[row].item_id] for row in example.candidates]
        return np.array([_logit(person, relevance(taste, work), work) for work in shown], np.float32)


def _logit(person: Person, liking: float, work: Work) -> float:
    favour = next(weight for domain, weight in zip(DOMAINS, person.domains, strict=True) if domain == work.item.domain)
    return 5.8 * liking + 1.5 * favour + 1.4 * work.appeal


def main() -> None:
    """See above."""
    config = WorldConfig()
    corpus = open_corpus(None, CorpusOptions())
    works = {work.item.item_id: work for work in write_catalogue(config.seed, config.items, config.now)}
    measured = evaluate(TrueChances(corpus, config, works), corpus, TEST, EvaluationOptions())
    print(f"{data_line(measured)}\n\n{markdown_table([measured])}")


if __name__ == "__main__":
    main()
