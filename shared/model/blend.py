"""What a fusion reads of a call, and the probability that comes of it: one code for training and for serving.

A signal belongs to a candidate and its user alone, never to the other candidates. Nobody needs to know them all: what
is not known is not a number, which every fusion bears.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shared.model.crowd import LIKING, Crowd
from shared.model.forest import Floats
from shared.model.fusion import Features, Fusion, logits_of

MODEL = "model"
"""Logit of the calibrated probability of the model's first action."""
POPULARITY = "popularity"
"""See shared.model.crowd.Crowd.popularity."""
ITEM_KNN = "item-kNN"
"""How much the liked items of the history speak for the candidate in sum; see Crowd.likeness_to."""
LOG_AGE = "log age"
"""log(1 + days since it was published); 0 for what is not published yet."""
LOG_HISTORY = "log history"
"""log(1 + items of the history), at most MOST_HISTORY of them."""
RETRIEVAL = "retrieval"
"""Score of retrieval's nearest source: the best of its cosines to what the user liked last, 0 to 1."""
CATEGORY = "category affinity"
"""How much of what the user liked lately was of the candidate's category; see `category_affinity`."""
SIGNALS = (MODEL, POPULARITY, ITEM_KNN, LOG_AGE, LOG_HISTORY, RETRIEVAL, CATEGORY)
MOST_HISTORY = 50
"""Items of the history that are read, newest first, each by its newest act: as many as the ranker is shown."""
OF_THE_CROWD = frozenset({POPULARITY, ITEM_KNN})
"""Signals that need its tables."""
_DAY_S = 86_400.0
_FADING = 0.9
"""What an act counts of the one after it: the last seven weigh as much as all before."""
_UNSEEN = 0.02
"""Of a share, below which differences say little."""


@dataclass(frozen=True, slots=True)
class Act:
    """What the user did with an item; `action` is a lower-case name, e.g. "click"; empty = not known."""

    item_id: str
    action: str
    category: str = ""
    """Of the item; empty = not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """What is known of a slate of candidates; not a number = not known."""

    history: Sequence[Act]
    """Newest first."""
    candidates: Sequence[str]
    """Item ids."""
    categories: Sequence[str]
    """[candidates]; empty = not known."""
    probabilities: Floats
    """[candidates], of the first action, by the model."""
    published_at: Floats
    """[candidates], unix seconds."""
    retrieval: Floats
    """[candidates], 0 to 1."""
    now: float
    """Unix seconds."""


class Blend:
    """A fusion with the tables that it reads, ready to serve. Immutable."""

    def __init__(self, fusion: Fusion, crowd: Crowd | None) -> None:
        """`crowd` may be None where the fusion does not read it.

        Raises:
            ValueError: when the fusion reads what there is not, or gives no finite number for an unknown candidate;
                half a sentence.
        """
        unknown = set(fusion.names) - set(SIGNALS)
        if unknown:
            raise ValueError(f"it reads signals that this program does not know; it knows {', '.join(SIGNALS)}")
        if crowd is None and OF_THE_CROWD & set(fusion.names):
            raise ValueError("it reads tables of the crowd, and there are none")
        self.fusion = fusion
        self.crowd = crowd
        self._forest = fusion.forest()
        nothing = np.array([np.nan])
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.probabilities(Ask((), ("",), ("",), np.array([0.5]), nothing, nothing, np.nan))
        if not np.isfinite(found).all():
            raise ValueError("it gives no finite probability for a candidate of which nothing is known")

    def probabilities(self, ask: Ask) -> Floats:
        """[candidates]: of the first action. A candidate's does not depend on the others."""
        return self.fusion.scores(features_of(self.fusion.names, self.crowd, ask), self._forest)


def features_of(names: tuple[str, ...], crowd: Crowd | None, ask: Ask) -> Features:
    """The signals of these names, [candidates, names].

    Raises:
        KeyError: for a signal that there is not; those of the crowd are there where it is.
    """
    acts = newest_acts(ask.history)
    liked = [act for act in acts if act.action in LIKING]
    columns: dict[str, Callable[[], Floats]] = {
        MODEL: lambda: logits_of(ask.probabilities),
        LOG_AGE: lambda: np.log1p(np.maximum(ask.now - ask.published_at, 0.0) / _DAY_S),
        LOG_HISTORY: lambda: np.full(len(ask.candidates), np.log1p(len(acts))),
        RETRIEVAL: lambda: ask.retrieval,
        CATEGORY: lambda: category_affinity(liked, ask.categories),
    }
    if crowd is not None and OF_THE_CROWD & set(names):
        rows = crowd.rows(ask.candidates)
        columns[POPULARITY] = lambda: crowd.popularity_of(rows)
        columns[ITEM_KNN] = lambda: crowd.likeness_to(crowd.rows([act.item_id for act in liked]), rows)
    return Features(names, np.stack([columns[name]() for name in names], axis=1))


def newest_acts(history: Iterable[Act]) -> list[Act]:
    """What is read of a history, newest first: of each item the newest act, of at most MOST_HISTORY items."""
    newest: dict[str, Act] = {}
    for act in history:
        newest.setdefault(act.item_id, act)
    return list(newest.values())[:MOST_HISTORY]


def category_affinity(liked: Iterable[Act], categories: Sequence[str]) -> Floats:
    """log(0.02 + the share of a category in what was liked), of each of `categories`; not a number where it is empty.

    Shares are of acts that fade, the newest counting 1 and each before it 0.9 of the next, beside one more act of no
    category: so a few acts make no taste.

    Args:
        liked: newest first; acts on items of no category are left out.
        categories: of the candidates.
    """
    weights: dict[str, float] = {}
    weight, total = 1.0, 1.0
    for act in liked:
        if act.category:
            weights[act.category] = weights.get(act.category, 0.0) + weight
            total += weight
            weight *= _FADING
    shares = [weights.get(category, 0.0) / total if category else np.nan for category in categories]
    return np.log(_UNSEEN + np.array(shares, np.float64))
