"""The embedded data set: a synthetic world, written by a seeded simulator. No person, click, brand or
article in it is real; it is here so that everything runs without a download and so that tests know what
there is to be learnt.

What can be learnt, and from where:

- Every item is about one of 25 topics, some about a second one. The topic's own nouns stand in the title,
  the summary, the category and the tags, and the same nouns serve news, shop, video and ads. So a taste
  shown in one domain can be read from text and carried to another.
- Every user has two to five topics of unequal weight and favourite domains. For 30 % the taste drifts to
  another mixture over the period; 25 % take up one new topic in the last eight days; the rest stay as they
  are.
- A session shows a slate: 40 % drawn by taste, 30 % by general appeal, 30 % from everything, in random
  order. P(click) = position_bias(place) * sigmoid(-3.8 + 5.8 relevance + 1.5 domain favour + 1.4 appeal +
  noise), where relevance = overlap / (overlap + 0.12) and overlap = user's topic weights . item's topic
  weights. So a held-out click can be predicted from the text of past clicks, appeal from click counts, and
  the position bias from the places, which are independent of relevance.
- A click is followed by dwell, longer for what is relevant, and now and then by like, share, comment or
  (shop) purchase. Items far from the taste are now and then hidden or disliked.

To scale it, set `items`, `users`, `sessions` and `days` in `WorldConfig`: time and memory grow with users *
sessions * slate_size, and users keep their tastes when more are added. Beyond about 5,000 items shop titles
start to repeat as numbered series ("..., part 2"); add topics or phrases to `vocabulary` for more. The same
configuration gives the same world to the byte on every machine and Python from 3.11 on."""

from dataclasses import astuple, dataclass

from shared.datasets.behaviour import Diary, Period, Shelves, make_person
from shared.datasets.catalogue import write_catalogue
from shared.datasets.draws import Draws
from shared.datasets.records import Dataset, DatasetError, Impression, Interaction, in_time_order, short_id


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """The size and the seed of a generated world."""

    seed: int = 7
    items: int = 3200
    users: int = 600
    days: int = 30  # length of the period that ends at `now`
    sessions: float = 19.0  # mean per user over the period
    slate_size: int = 10  # items shown per session
    now: float = 1_768_478_400.0  # 2026-01-15T12:00:00Z, unix seconds; a wall clock could not be replayed

    def __post_init__(self) -> None:
        lowest = {"items": 100, "users": 1, "days": 1, "sessions": 0, "slate_size": 1}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise DatasetError(f"WorldConfig.{name} is {getattr(self, name)}; make it at least {least}")


def generate_world(config: WorldConfig | None = None) -> Dataset:
    """The world of `config` (default: the embedded one). Pure: no file, clock or global randomness is
    touched."""
    config = config or WorldConfig()
    # In every id: two worlds loaded into one store must not look like one another's repeats.
    world = f"gen-{short_id(*astuple(config))[:8]}"
    works = write_catalogue(config.seed, config.items, config.now)
    shelves = Shelves.of(works)
    period = Period(config.now, float(config.days), config.sessions, config.slate_size, world)
    interactions: list[Interaction] = []
    impressions: list[Impression] = []
    for number in range(1, config.users + 1):
        draws = Draws(config.seed, "user", number)
        diary = Diary(make_person(draws, f"user-{number:05d}"), draws, shelves, period)
        diary.live()
        interactions += diary.interactions
        impressions += diary.impressions
    return Dataset(
        name=f"generated-{config.seed}",
        source="generated",
        items=tuple(work.item for work in works),
        interactions=in_time_order(interactions),
        impressions=tuple(sorted(impressions, key=lambda shown: (shown.time or 0.0, shown.impression_id))),
        now=config.now,
        dropped={},
    )
