"""One door to every data set on disk: the files in the folder tell its format."""

from pathlib import Path

from shared.datasets.jsonlines import ITEMS_FILE, read_jsonlines
from shared.datasets.mind import BEHAVIORS_FILE, NEWS_FILE, mind_folder, read_mind
from shared.datasets.movielens import read_movielens
from shared.datasets.records import Dataset, DatasetError, Source

LISTED_AT_MOST = 10  # names shown of what was found


def open_dataset(path: Path) -> Dataset:
    """Read the folder at `path`, whatever its format. For one split, or for MovieLens up to a date, call the
    format's own reader. Raises DatasetError if no format fits or a file cannot be read."""
    source = source_at(path)
    if source == "movielens":
        return read_movielens(path)
    return read_mind(path) if source == "mind" else read_jsonlines(path)


def source_at(path: Path) -> Source:
    """The format of the folder at `path`; MovieLens wins where several fit, as its ratings hold more than test
    sets made from them. Raises DatasetError if none fits."""
    if not path.is_dir():
        raise DatasetError(f"{path}: not a folder; name the folder that holds the data set's files")
    if (path / "movies.csv").is_file() and (path / "ratings.csv").is_file():
        return "movielens"
    if mind_folder(path) is not None:
        return "mind"
    if (path / ITEMS_FILE).is_file():
        return "jsonlines"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    found = ", ".join(names[:LISTED_AT_MOST]) + (", …" if len(names) > LISTED_AT_MOST else "")
    raise DatasetError(
        f"{path}: no known data set; looked for movies.csv with ratings.csv (MovieLens), {NEWS_FILE} with "
        f"{BEHAVIORS_FILE}, here or in a train folder (MIND), and {ITEMS_FILE} (JSON lines); "
        f"found {found or 'nothing'}"
    )
