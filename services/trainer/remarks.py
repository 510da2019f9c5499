"""What one should know of a corpus before one believes figures of it: a plain sentence for each finding, none where all
is well. Nothing is changed or refused for it: the splits that a user brings are the user's protocol.
"""

from services.trainer.assembly import first_held_out
from services.trainer.corpus import TRAIN, Corpus


def remarks_on(corpus: Corpus) -> tuple[str, ...]:
    """Sentences for whoever trains on the corpus or measures with it."""
    slates = len(corpus.splits.get(TRAIN, ()))
    later, undated = later_than_held_out(corpus), without_time(corpus)
    sampled = ", ".join(f"{count:,} of {split}" for split, count in corpus.sampled.items())
    found = {
        f"Slates that tell only what was chosen were given sampled negatives: {sampled}.": bool(sampled),
        f"{later:,} of {slates:,} train slates lie later than the first held-out slate: models may know what came "
        "after what they are measured on.": later > 0,
        f"{undated:,} of {slates:,} train slates have no time: popularity and item-kNN count nothing of what was "
        "chosen on them.": undated > 0,
    }
    return tuple(sentence for sentence, holds in found.items() if holds)


def later_than_held_out(corpus: Corpus) -> int:
    """How many train slates lie later than the first slate of any other split."""
    first = first_held_out(corpus.splits)
    if first is None:
        return 0
    return sum(example.time is not None and example.time > first for example in corpus.splits.get(TRAIN, ()))


def without_time(corpus: Corpus) -> int:
    """How many train slates have no time."""
    return sum(example.time is None for example in corpus.splits.get(TRAIN, ()))
