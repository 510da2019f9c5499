"""Any source as a corpus: the generated world, JSON lines, MIND, MovieLens, each by what it knows.

Slates are taken as they were shown. Ratings have none, so slates are made of them (`rating_slates`); slates that tell
only what was chosen are given negatives (`sampled_negatives`) where they are learnt from or cut off that part here.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.assembly import Assembly, CorpusOptions, Draft, choices, columns_of, is_act
from services.trainer.corpus import TEST, TRAIN, VALID, Corpus, Example
from services.trainer.rating_slates import periods_of, rating_draft
from services.trainer.sampled_negatives import with_sampled_negatives
from services.trainer.splitting import ChosenRows, by_time, cut, with_valid
from shared.datasets import (
    Dataset,
    DatasetError,
    Impression,
    Item,
    generate_world,
    read_movielens,
)
from shared.datasets.jsonlines import ITEMS_FILE, read_impressions, read_items, split_files
from shared.datasets.mind import MindRows, mind_folder, open_mind
from shared.datasets.movielens import with_user_tags
from shared.datasets.open import source_at

Done = Mapping[str, Set[tuple[str, str]]]
"""By impression id: what was done on the slate, as (item id, action)."""
_HELD_OUT = ("valid", "dev", "test")
"""How names of splits begin that are never learnt from, even where they stand alone."""


def open_corpus(path: Path | None, options: CorpusOptions) -> Corpus:
    """The folder at `path` in any format of `shared.datasets`; None = the generated world.

    Raises:
        DatasetError: when it cannot be read, holds no slates, or lacks a row that `options` names. Names file and line.
    """
    if path is None:
        return corpus_of(generate_world(), options)
    source = source_at(path)
    if source == "movielens":
        return _movielens(path, options)
    return _mind(path, options) if source == "mind" else _jsonlines(path, options)


def corpus_of(dataset: Dataset, options: CorpusOptions) -> Corpus:
    """A data set without splits, cut by time: its slates, every act on which it must know as the generated world does;
    without slates, such as are made of its likes."""
    assembly = Assembly(dataset.items, options, Counter(dataset.dropped))
    if not dataset.impressions:
        periods = periods_of(dataset.interactions, None, options)
        return _chosen_by_row(assembly, rating_draft(dataset.name, periods, {}, assembly))
    columns = columns_of(options)
    done = _done(dataset, options)
    examples = []
    for shown in dataset.impressions:
        labels = labels_of([each.item_id for each in shown.candidates], done[shown.impression_id], columns)
        examples.append(assembly.example(shown, labels))
    return unsplit(assembly, Draft(dataset.name, columns, {}, assembly.events(dataset.interactions)), examples)


def unsplit(assembly: Assembly, draft: Draft, examples: Sequence[Example]) -> Corpus:
    """The corpus of examples that no one has split yet: `draft` with splits cut by time."""
    return _chosen_by_row(assembly, replace(draft, splits=cut(examples, assembly.options)), (TRAIN, VALID, TEST))


def labels_of(items: Sequence[str], done: Iterable[tuple[str, str]], columns: Sequence[str]) -> NDArray[np.float32]:
    """[items, columns]: 1 where (item id, column) was done, else 0; for sources that know every act."""
    labels = np.zeros((len(items), len(columns)), np.float32)
    places = {item: row for row, item in enumerate(items)}
    names = {name: column for column, name in enumerate(columns)}
    for item, action in done:
        if item in places and action in names:
            labels[places[item], names[action]] = 1.0
    return labels


def _chosen_by_row(assembly: Assembly, draft: Draft, made: Sequence[str] = (TRAIN,)) -> Corpus:
    """Few-shot rows count the examples of train where it has no file of its own."""
    chosen = ChosenRows(assembly.options)
    for row, example in enumerate(draft.splits[TRAIN]):
        chosen.note(row, example)
    return _finish(assembly, draft, chosen, made)


def _finish(assembly: Assembly, draft: Draft, chosen: ChosenRows, made: Sequence[str]) -> Corpus:
    """`made`: the split that is learnt from and those cut off it here, which may be given negatives. What the source
    holds out itself is measured as it is."""
    splits = dict(draft.splits)
    if TRAIN in splits:
        splits[TRAIN] = chosen.choose(list(splits[TRAIN]), draft.name)
    # A few-shot run knows what its rows tell, or it would be no few-shot run.
    acts = draft.acts if assembly.options.train_rows is None else None
    return with_sampled_negatives(assembly.finish(replace(draft, splits=splits, acts=acts)), made, assembly.options)


def _done(dataset: Dataset, options: CorpusOptions) -> Done:
    """What every slate led to: acts of its user on its items before the user's next slate, and what its labels say."""
    done: dict[str, set[tuple[str, str]]] = {}
    slates: dict[str, list[tuple[float, str]]] = {}
    for shown in dataset.impressions:
        done[shown.impression_id] = {(each.item_id, "click") for each in shown.candidates if each.label}
        if shown.time is not None:
            slates.setdefault(shown.user_id, []).append((shown.time, shown.impression_id))
    for of_user in slates.values():
        of_user.sort()
    for act in dataset.interactions:
        before = bisect_right(slates.get(act.user_id, ()), act.time, key=itemgetter(0))
        if before and is_act(act, options):
            done[slates[act.user_id][before - 1][1]].add((act.item_id, act.action))
    return done


def _labels(shown: Impression) -> NDArray[np.float32]:
    return np.array([[each.label] for each in shown.candidates], np.float32)


def _walk(assembly: Assembly, rows: Iterable[tuple[int, Impression]], chosen: ChosenRows | None) -> list[Example]:
    """Impressions as examples, one by one as they are read; rows of train are noted in `chosen`."""
    examples = []
    for row, shown in rows:
        example = assembly.example(shown, _labels(shown))
        examples.append(example)
        if chosen is not None:
            chosen.note(row, example)
    return examples


def _jsonlines(path: Path, options: CorpusOptions) -> Corpus:
    dropped: Counter[str] = Counter()
    assembly = Assembly(tuple(read_items(path / ITEMS_FILE, dropped)), options, dropped)
    files = split_files(path)
    if not files:
        raise DatasetError(f"{path}: no impressions.<split>.jsonl; there are no slates to learn from")
    chosen, splits = ChosenRows(options), dict[str, list[Example]]()
    for split, file in files:
        shown = read_impressions(file, split, assembly.rows.keys(), dropped)
        splits[split] = _walk(assembly, shown, chosen if split == TRAIN else None)
    draft = Draft(path.resolve().name, (options.label_action,), {})
    if len(files) == 1 and not files[0][0].startswith((TRAIN, *_HELD_OUT)):
        return unsplit(assembly, draft, splits[files[0][0]])
    return _finish(assembly, replace(draft, splits=with_valid(splits, options)), chosen, _cut_off_train(splits))


def _cut_off_train(splits: Mapping[str, Sequence[Example]]) -> tuple[str, ...]:
    """Train, and "valid" where `with_valid` takes it from there."""
    return (TRAIN,) if VALID in splits else (TRAIN, VALID)


def _mind(path: Path, options: CorpusOptions) -> Corpus:
    opened = _mind_splits(path)
    items: dict[str, Item] = {}
    for rows in opened.values():
        for item in rows.items:
            items.setdefault(item.item_id, item)
    assembly = Assembly(tuple(items.values()), options, Counter())
    chosen, splits = ChosenRows(options), dict[str, list[Example]]()
    for split, rows in opened.items():
        splits[split] = _walk(assembly, rows.impressions(), chosen if split == TRAIN else None)
        assembly.dropped.update(rows.dropped)
    # Train alone: users of the other splits have theirs from the time that is held out.
    acts = chain(assembly.events(opened[TRAIN].histories()), choices(splits[TRAIN], options.label_action))
    draft = Draft(path.resolve().name, (options.label_action,), {}, acts)
    if len(opened) == 1 and mind_folder(path) == path:
        return unsplit(assembly, draft, splits[TRAIN])
    return _finish(assembly, replace(draft, splits=with_valid(splits, options)), chosen, _cut_off_train(splits))


def _mind_splits(path: Path) -> dict[str, MindRows]:
    """The splits of a MIND folder; one whose own files lie in it is all train."""
    opened = {TRAIN: open_mind(path)}
    for split in _HELD_OUT:
        place = mind_folder(path, split)
        if place is None or place == path:
            continue
        rows = open_mind(path, split)
        if rows.labelled():
            opened[split] = rows
        else:
            opened[TRAIN].dropped[f"split without labels: {split}"] += 1
    return opened


def _movielens(path: Path, options: CorpusOptions) -> Corpus:
    """Ratings. Where test impressions lie beside them, no rating and no user's tag from their earliest moment on is
    known. Where items.jsonl lies beside them, its titles and categories are what is read of a film."""
    dropped: Counter[str] = Counter()
    dataset = read_movielens(path, user_tags_before=-math.inf)
    dropped.update(dataset.dropped)
    known = {item.item_id for item in dataset.items}
    tests = {
        split: list(read_impressions(file, split, known, dropped))
        for split, file in split_files(path)
        if split.startswith(TEST)
    }
    times = (shown.time for rows in tests.values() for _, shown in rows if shown.time is not None)
    periods = periods_of(dataset.interactions, min(times, default=None), options)
    films = with_user_tags(_with_texts(dataset.items, path / ITEMS_FILE), path, periods.train_until)
    assembly = Assembly(films, options, dropped)
    fixed = {split: by_time(_walk(assembly, rows, None)) for split, rows in tests.items()}
    return _chosen_by_row(assembly, rating_draft(dataset.name, periods, fixed, assembly))


def _with_texts(films: Sequence[Item], path: Path) -> tuple[Item, ...]:
    texts = {item.item_id: item for item in read_items(path, Counter())} if path.is_file() else {}
    return tuple(
        replace(film, title=told.title, category=told.category) if (told := texts.get(film.item_id)) else film
        for film in films
    )
