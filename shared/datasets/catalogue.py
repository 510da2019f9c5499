"""The items of the generated world: titles and texts written from the word lists, with the topics behind
them kept beside each item for the simulator, which is the only one to see them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from shared.datasets.draws import Draws
from shared.datasets.records import Item
from shared.datasets.vocabulary import TOPICS, Topic, patterns

Domain = Literal["news", "shop", "video", "ads"]

DAY_S = 86_400.0
DOMAINS: tuple[Domain, ...] = ("news", "shop", "video", "ads")
DOMAIN_SHARE: Mapping[Domain, float] = {"news": 0.4, "shop": 0.28, "video": 0.24, "ads": 0.08}
OLDEST_DAYS: Mapping[Domain, float] = {"news": 45.0, "shop": 400.0, "video": 300.0, "ads": 75.0}
SECOND_TOPIC_SHARE = 0.3
MAIN_TOPIC_WEIGHT, SECOND_TOPIC_WEIGHT = 0.8, 0.4
PUBLISHERS_PER_TOPIC = 3
NAMES_PER_TITLE = 40  # draws before a title is numbered instead


@dataclass(frozen=True, slots=True)
class Work:
    """An item and what it is really about: weights per topic key, and its appeal in [0, 1] to everybody."""

    item: Item
    topics: tuple[tuple[str, float], ...]
    appeal: float
    published_at: float


@dataclass(frozen=True, slots=True)
class Shelf:
    """Works sorted by publication, so that those out at some time are the first ones."""

    works: tuple[Work, ...]
    published: tuple[float, ...]

    @staticmethod
    def of(works: Sequence[Work]) -> "Shelf":
        ordered = tuple(sorted(works, key=lambda work: (work.published_at, work.item.item_id)))
        return Shelf(ordered, tuple(work.published_at for work in ordered))

    def out_at(self, time: float) -> int:
        """How many of the works are out."""
        return bisect_right(self.published, time)


def offered_in(domain: Domain) -> tuple[Topic, ...]:
    """The topics that have items in a domain."""
    if domain == "shop":
        return tuple(topic for topic in TOPICS if topic.products)
    if domain == "ads":
        return tuple(topic for topic in TOPICS if topic.offers)
    return TOPICS


def write_catalogue(seed: int, count: int, now: float) -> list[Work]:
    """`count` works with different titles, published before `now` (unix seconds)."""
    draws = Draws(seed, "catalogue")
    writer = _TitleWriter(draws)
    topics = {topic.key: topic for topic in TOPICS}
    works: list[Work] = []
    for domain, size in _sizes(count).items():
        offered = offered_in(domain)
        for number in range(size):
            topic = offered[number % len(offered)]
            second = topics[draws.pick(topic.related)] if draws.uniform() < SECOND_TOPIC_SHARE else None
            works.append(_write(draws, writer, _Brief(domain, number, topic, second, now)))
    return works


def _sizes(count: int) -> dict[Domain, int]:
    sizes = {domain: int(count * DOMAIN_SHARE[domain]) for domain in DOMAINS}
    sizes["news"] += count - sum(sizes.values())
    return sizes


@dataclass(frozen=True, slots=True)
class _Brief:
    """What the next item has to be."""

    domain: Domain
    number: int  # within its domain, from 0
    topic: Topic
    second: Topic | None
    now: float


@dataclass(slots=True)
class _TitleWriter:
    """Writes titles that differ in more than a filler word: a pattern meets each phrase once."""

    draws: Draws
    titles: set[str] = field(default_factory=set)
    told: set[tuple[str, ...]] = field(default_factory=set)

    def write(self, brief: _Brief) -> tuple[str, dict[str, str]]:
        """A new title, and the phrases it was made with."""
        choices = patterns.TITLES[brief.domain]
        # Patterns take turns within a topic; the topic's own start keeps them from marching in step.
        turn = brief.number // len(offered_in(brief.domain)) + sum(map(ord, brief.topic.key))
        for attempt in range(NAMES_PER_TITLE):
            pattern = choices[(turn + attempt // 8) % len(choices)]
            slots = _slots(self.draws, brief.topic)
            story = _story(brief, pattern, slots)
            title = _sentence(pattern.format(**slots))
            if story not in self.told and title not in self.titles:
                self.told.add(story)
                self.titles.add(title)
                return title, slots
        return self._numbered(title), slots

    def _numbered(self, title: str) -> str:
        """Large worlds outgrow the phrases: then a title becomes a series."""
        part = 2
        while f"{title}, part {part}" in self.titles:
            part += 1
        self.titles.add(f"{title}, part {part}")
        return f"{title}, part {part}"


def _slots(draws: Draws, topic: Topic) -> dict[str, str]:
    return {
        "things": draws.pick(topic.things),
        "doing": draws.pick(topic.doing),
        "people": draws.pick(topic.people),
        "event": draws.pick(topic.events),
        "city": draws.pick(patterns.CITIES),
        "n": str(draws.pick(patterns.AMOUNTS)),
        "number": draws.pick(patterns.NUMBERS),
        "brand": draws.pick(topic.brands),
        "product": draws.pick(topic.products).name if topic.products else "",
        "finish": _after_noun(draws.pick(topic.finishes)) if topic.finishes else "",
        "series": draws.pick(patterns.SERIES),
        "manner": draws.pick(patterns.MANNERS),
        "offer": draws.pick(topic.offers) if topic.offers else "",
    }


def _after_noun(finish: str) -> str:
    """` in navy`, but `, gift edition`: only a preposition joins a noun without a comma."""
    return f" {finish}" if finish.partition(" ")[0] in ("in", "for", "with", "from") else f", {finish}"


def _story(brief: _Brief, pattern: str, slots: Mapping[str, str]) -> tuple[str, ...]:
    """What a title may be told about once only."""
    if brief.domain == "shop":
        return (brief.topic.key, slots["brand"], slots["product"])
    focus = next((slot for slot in ("offer", "things", "doing", "event") if f"{{{slot}}}" in pattern), "city")
    return (brief.topic.key, pattern, slots[focus])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _write(draws: Draws, writer: _TitleWriter, brief: _Brief) -> Work:
    title, slots = writer.write(brief)
    topic, domain = brief.topic, brief.domain
    # The summary keeps the title's phrases only where the title shows them: elsewhere fresh ones add words.
    fresh = _slots(draws, topic) | {key: slots[key] for key in ("people", "brand", "product")}
    summary = _sentence(draws.pick(patterns.SUMMARIES[domain]).format(**fresh))
    tags = [topic.label.lower(), slots["product"] if domain == "shop" else slots["things"]]
    topics = [(topic.key, MAIN_TOPIC_WEIGHT)]
    if brief.second is not None:
        summary += " " + draws.pick(patterns.SECOND_TOPIC).format(other=draws.pick(brief.second.things))
        tags.append(brief.second.label.lower())
        topics.append((brief.second.key, SECOND_TOPIC_WEIGHT))
    published_at = brief.now - 600.0 - float(int(draws.low() * OLDEST_DAYS[domain] * DAY_S))
    item_id = f"{domain}-{brief.number + 1:05d}"
    product = next((each for each in topic.products if each.name == slots["product"]), None)
    price = _price_micros(draws, product.euros) if product is not None and domain == "shop" else None
    item = Item(
        item_id=item_id,
        title=title,
        summary=summary,
        category=topic.label,
        tags=tuple(tags),
        publisher=_publisher(draws, brief, slots["brand"]),
        published_at=published_at,
        domain=domain,
        price_micros=price,
        currency="" if price is None else "EUR",
        duration_s=float(60 + draws.below(40) * 45) if domain == "video" else None,
        url=f"https://example.com/{domain}/{item_id}",
    )
    return Work(item, tuple(topics), draws.low(), published_at)


def _price_micros(draws: Draws, euros: int) -> int:
    """Around the usual price, ending in 99 cents."""
    return max(1, int(euros * (0.75 + 0.6 * draws.uniform()))) * 1_000_000 - 10_000


def _publisher(draws: Draws, brief: _Brief, brand: str) -> str:
    if brief.domain in ("shop", "ads"):
        return brand
    names = patterns.NEWSPAPERS if brief.domain == "news" else patterns.CHANNELS
    # Each topic has a few regular publishers, so that a publisher says something about the topic.
    return names[(TOPICS.index(brief.topic) + draws.below(PUBLISHERS_PER_TOPIC)) % len(names)]
