"""MovieLens folders (movies.csv, ratings.csv, optionally tags.csv), as GroupLens publishes ml-latest-small.
A rating becomes an action: 4 stars and more a like, 2 and less a dislike, anything between a view.
https://files.grouplens.org/datasets/movielens/ml-latest-small-README.html"""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from shared.datasets.records import Action, Dataset, Interaction, Item, in_time_order
from shared.datasets.rows import Place, numbered_lines

LIKED_FROM = 4.0  # stars
DISLIKED_UP_TO = 2.0  # stars
USER_TAGS_PER_FILM = 5
NO_GENRES = "(no genres listed)"

_ARTICLE = r"The|An?|Les?|L[ao]s?|L'|Un[ae]?|Il|Gli|I|Die|De[rnt]?|Das|El|En|Het"
_TRAILING_ARTICLE = re.compile(rf"^(?P<rest>.+), (?P<article>{_ARTICLE})(?P<subtitle>: .+)?$")
_ALIAS = re.compile(r"\((?P<name>[^()]*)\)")
_YEAR = re.compile(r"\((?P<year>1[89]\d\d|20\d\d)(?:[-\u2013]\d{0,4})?\)\s*$")  # en dash: \u2013


def read_movielens(folder: Path, user_tags_before: float = math.inf) -> Dataset:
    """Read a folder in ml-latest-small format. A film's tags are its genres, then the tags users gave it
    most often before `user_tags_before` (unix seconds): set it to the training cut when a later period is
    the test, or the tags tell what the test asks. Raises DatasetError for a wrong header or a row that
    cannot be read."""
    dropped: Counter[str] = Counter()
    items = _read_movies(folder / "movies.csv", dropped)
    interactions = _read_ratings(folder / "ratings.csv", {item.item_id for item in items}, dropped)
    return Dataset(
        name=folder.resolve().name,
        source="movielens",
        items=with_user_tags(items, folder, user_tags_before),
        interactions=in_time_order(interactions),
        impressions=(),
        now=max((event.time for event in interactions), default=-1.0) + 1.0,
        dropped=dict(dropped),
    )


def with_user_tags(films: Iterable[Item], folder: Path, before: float) -> tuple[Item, ...]:
    """The films, their tags followed by those that users gave them most often before a time (unix seconds)."""
    user_tags = _read_user_tags(folder / "tags.csv", before) if before > -math.inf else {}
    return tuple(_with_tags(film, user_tags[film.item_id]) if film.item_id in user_tags else film for film in films)


def _with_tags(film: Item, user_tags: list[str]) -> Item:
    genres = {genre.lower() for genre in film.tags}
    return replace(film, tags=(*film.tags, *(tag for tag in user_tags if tag not in genres)))


def natural_title(title: str) -> str:
    """Puts articles back in front: `Matrix, The (1999)` -> `The Matrix (1999)`, in alternative names as
    well."""
    title = title.strip()
    if year := _YEAR.search(title):
        return f"{natural_title(title[: year.start()])} {year.group().strip()}".strip()
    title = _ALIAS.sub(lambda alias: f"({_article_first(alias['name'])})", title)
    name, bracket, aliases = title.partition(" (")
    return _article_first(name) + bracket + aliases


def _article_first(name: str) -> str:
    found = _TRAILING_ARTICLE.match(name)
    if found is None:
        return name
    article = found["article"] if found["article"].endswith("'") else found["article"] + " "
    return article + found["rest"] + (found["subtitle"] or "")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[Place, list[str]]]:
    """The data rows of a CSV file whose header must be `columns`."""
    place = Place(path, 1)

    def texts() -> Iterator[str]:
        nonlocal place
        for place, text in numbered_lines(path):  # noqa: B007 - read below, to tell where a row ends
            yield text + "\n"

    expected = ",".join(columns)
    reader = csv.reader(texts(), strict=True)
    try:
        header = next(reader, [])
        if [name.strip() for name in header] != list(columns):
            raise place.error(f"the header is {','.join(header)!r}; make the first line {expected!r}")
        for cells in reader:
            if len(cells) != len(columns):
                raise place.error(f"{len(cells)} columns; write the {len(columns)} columns {expected}")
            yield place, cells
    except csv.Error as error:
        raise place.error(f"not a CSV row ({error}); quote fields that hold commas or quotes") from error


def _read_movies(path: Path, dropped: Counter[str]) -> list[Item]:
    items: dict[str, Item] = {}
    for place, (movie_id, raw_title, raw_genres) in _rows(path, ("movieId", "title", "genres")):
        title = natural_title(raw_title)
        if not movie_id.strip():
            raise place.error("movieId is empty; give every film an id")
        if not title:
            dropped["film without title"] += 1
        elif movie_id in items:
            dropped["film listed twice"] += 1
        else:
            items[movie_id] = _film(movie_id, title, raw_genres)
    return list(items.values())


def _film(movie_id: str, title: str, raw_genres: str) -> Item:
    genres = [] if raw_genres == NO_GENRES else [genre for genre in raw_genres.split("|") if genre]
    year = _YEAR.search(title)
    return Item(
        item_id=movie_id,
        title=title,
        # One genre, not the joined list: an interest weight per combination would never be met twice.
        category=genres[0] if genres else "",
        tags=tuple(genres),
        published_at=datetime(int(year["year"]), 1, 1, tzinfo=UTC).timestamp() if year else None,
        domain="video",
    )


def _read_user_tags(path: Path, before: float) -> dict[str, list[str]]:
    """Per film its most frequent user tags, lower case, most frequent first; nothing where there is no
    file."""
    if not path.exists():
        return {}
    counts: dict[str, Counter[str]] = {}
    for place, (_, movie_id, tag, time) in _rows(path, ("userId", "movieId", "tag", "timestamp")):
        name = tag.strip().lower()
        if place.time(time, "timestamp") < before and name:
            counts.setdefault(movie_id, Counter())[name] += 1
    return {
        movie_id: sorted(tags, key=lambda tag: (-tags[tag], tag))[:USER_TAGS_PER_FILM]
        for movie_id, tags in counts.items()
    }


def _read_ratings(path: Path, known: set[str], dropped: Counter[str]) -> list[Interaction]:
    interactions: dict[str, Interaction] = {}
    columns = ("userId", "movieId", "rating", "timestamp")
    for place, (user_id, movie_id, raw_rating, raw_time) in _rows(path, columns):
        rating, time = place.number(raw_rating, "rating"), place.time(raw_time, "timestamp")
        if not user_id.strip():
            raise place.error("userId is empty; give every rating its user")
        if movie_id not in known:
            dropped["rating of unknown film"] += 1
            continue
        action = _action_of(rating)
        event_id = f"ml-{user_id}-{movie_id}-{action}-{raw_time.strip()}"
        if event_id in interactions:
            dropped["rating listed twice"] += 1
            continue
        interactions[event_id] = Interaction(event_id, user_id, movie_id, action, time, rating)
    return list(interactions.values())


def _action_of(rating: float) -> Action:
    if rating >= LIKED_FROM:
        return "like"
    return "dislike" if rating <= DISLIKED_UP_TO else "view"
