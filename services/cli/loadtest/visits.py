"""Who comes, in which order: users as a Zipf law has them, a few of whom come all the time and most hardly ever.

The user at rank r comes with a probability in proportion to 1 / r^exponent; ranks follow past activity. Some visits
are of visitors nobody has seen before, and some users have just acted on something, so that what is known of them
has changed since the last call. All of it follows from the seed.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from services.cli.loading import events_to_load
from shared.datasets import Dataset, Interaction, Item


@dataclass(frozen=True, slots=True)
class Crowd:
    """What visits are drawn by."""

    seed: int = 0
    exponent: float = 1.0
    visitor_share: float = 0.1
    """Visits of visitors never seen before."""
    acted_share: float = 0.3
    """Visits of users who have just acted on an item, among those of known users."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One user or visitor, at one moment."""

    user_id: str
    """Empty for a visitor."""
    visitor_id: str
    """Empty for a user."""
    acted_on: Item | None
    """What the user has just clicked, before the profile can know."""


class World:
    """A data set as visits need it: users by activity, their pasts, items by id."""

    def __init__(self, dataset: Dataset) -> None:
        self.now = dataset.now
        self.items = dataset.items
        self.item_of: Mapping[str, Item] = {item.item_id: item for item in dataset.items}
        pasts: defaultdict[str, list[Interaction]] = defaultdict(list)
        for act in events_to_load(dataset):
            pasts[act.user_id].append(act)
        self._pasts = {user: tuple(reversed(acts)) for user, acts in pasts.items()}
        self.users = sorted(self._pasts, key=lambda user: (-len(self._pasts[user]), user))

    def past(self, user_id: str, most: int) -> Sequence[Interaction]:
        """What the user did, newest first, as `homepage load` loads it."""
        return self._pasts.get(user_id, ())[:most]


def draw_visits(world: World, crowd: Crowd) -> Iterator[Visit]:
    """Visits without end, the same for the same world and crowd."""
    draws = random.Random(crowd.seed)
    shares = list(accumulate(1 / rank**crowd.exponent for rank in range(1, len(world.users) + 1)))
    number = 0
    while True:
        number += 1
        if not world.users or draws.random() < crowd.visitor_share:
            yield Visit("", f"load-{crowd.seed}-{number}", None)
            continue
        [user] = draws.choices(world.users, cum_weights=shares)
        yield Visit(user, "", draws.choice(world.items) if draws.random() < crowd.acted_share else None)
