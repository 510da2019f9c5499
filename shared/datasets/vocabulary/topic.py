"""The shape of one topic's word lists. A topic is what a user can have a taste for; it speaks in every
domain it is sold, told or filmed in, with the same nouns, which is why a taste read in the news also shows
in the shop."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """Something a shop sells: a noun phrase without article, and what it usually costs in euros."""

    name: str
    euros: int


@dataclass(frozen=True, slots=True)
class Topic:
    """Phrases of one topic, each list of one grammatical kind so that any title pattern can take any
    phrase."""

    key: str
    label: str
    related: tuple[str, ...]  # keys of topics an item may touch besides this one
    things: tuple[str, ...]  # plural noun phrases
    doing: tuple[str, ...]  # gerund phrases
    people: tuple[str, ...]  # plural nouns for those who care
    events: tuple[str, ...]  # noun phrases with their article
    brands: tuple[str, ...]  # invented makers and sellers
    offers: tuple[str, ...] = ()  # what an advertisement offers, with article; none: not advertised
    products: tuple[Product, ...] = ()  # none: not sold in the shop
    finishes: tuple[str, ...] = ()  # what follows a product's name: colour, size, edition


def phrases(text: str) -> tuple[str, ...]:
    """Phrases separated by semicolons; line breaks inside count as spaces."""
    return tuple(" ".join(part.split()) for part in text.split(";") if part.strip())


def products(text: str) -> tuple[Product, ...]:
    """Products separated by semicolons, each ending in its price in euros: `bottle cage 15; pannier 70`."""
    pairs = (part.rsplit(" ", 1) for part in phrases(text))
    return tuple(Product(name, int(euros)) for name, euros in pairs)
