"""Category affinity as a baseline: what a fusion reads by that name, by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Corpus, Example, Past
from shared.model.blend import CATEGORY, Act, category_affinity, newest_acts
from shared.model.crowd import LIKING

_NEVER_LIKED = float(category_affinity((), ("any",))[0])


def act_of(corpus: Corpus, past: Past) -> Act:
    """An entry of a history as the ranker is told it."""
    item = corpus.items[past.item]
    return Act(item.item_id, past.action, item.category)


@dataclass(frozen=True, slots=True, eq=False)
class CategoryAffinity:
    """How much of what the user liked lately was of the candidate's category; see shared.model.blend."""

    corpus: Corpus
    name: str = CATEGORY
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example; an item of no category scores like one that was never liked."""
        return [self._of(example) for example in examples]

    def _of(self, example: Example) -> NDArray[np.float32]:
        acts = newest_acts(act_of(self.corpus, past) for past in example.history)
        categories = [self.corpus.items[row].category for row in example.candidates]
        found = category_affinity((act for act in acts if act.action in LIKING), categories)
        return np.nan_to_num(found, nan=_NEVER_LIKED).astype(np.float32)
