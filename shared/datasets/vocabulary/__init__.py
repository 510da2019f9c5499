"""Word lists of the generated data set: 25 topics, the patterns that turn them into titles, and invented
names. Data, not code: add a topic by adding one `Topic` to one of the lists."""

from shared.datasets.vocabulary import active, living, world
from shared.datasets.vocabulary.topic import Product, Topic

TOPICS: tuple[Topic, ...] = active.TOPICS + living.TOPICS + world.TOPICS

__all__ = ["TOPICS", "Product", "Topic"]
