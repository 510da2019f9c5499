"""Where items and behaviour come from: a generated world that needs no download, and readers for MovieLens,
MIND and the project's own JSON lines. All give one `Dataset`."""

from shared.datasets.generated import WorldConfig, generate_world
from shared.datasets.jsonlines import read_jsonlines
from shared.datasets.mind import read_mind
from shared.datasets.movielens import read_movielens
from shared.datasets.open import open_dataset
from shared.datasets.records import (
    ACTIONS,
    Action,
    Candidate,
    Dataset,
    DatasetError,
    HistoryEntry,
    Impression,
    Interaction,
    Item,
    Source,
)

__all__ = [
    "ACTIONS",
    "Action",
    "Candidate",
    "Dataset",
    "DatasetError",
    "HistoryEntry",
    "Impression",
    "Interaction",
    "Item",
    "Source",
    "WorldConfig",
    "generate_world",
    "open_dataset",
    "read_jsonlines",
    "read_mind",
    "read_movielens",
]
