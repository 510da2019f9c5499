"""The service's own log as a corpus: pages that were served become slates, and later acts their labels.

An act belongs to the page of the recommendation it names; one that names none, to the user's latest page of the last
half hour that shows its item. It is never older than its page, whatever the sender's clock says, so that no page
finds its own outcome in its history.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from services.trainer.assembly import Assembly, CorpusOptions, Draft, columns_of, is_act
from services.trainer.corpora import labels_of, unsplit
from services.trainer.corpus import Corpus, Example
from shared.datasets import Candidate, HistoryEntry, Impression, Interaction, Item

SAME_VISIT_S = 1800.0
"""For so long after a page an act that names no recommendation is taken for the page's doing."""


@dataclass(frozen=True, slots=True)
class LoggedAct:
    """An act of the log: whose and what, and the recommendation it names (empty = none). Its user is a pseudonym."""

    interaction: Interaction
    recommendation_id: str = ""


@dataclass(frozen=True, slots=True)
class LoggedPage:
    """A page of the log, served at `time` (unix seconds)."""

    page_id: str
    """Id of the recommendation; of its later pages, followed by "/" and the first position."""
    subject: str
    """The user's pseudonym."""
    time: float
    items: tuple[tuple[str, int], ...]
    """(item id, position from 1), by position."""

    @property
    def recommendation_id(self) -> str:
        """What acts name: the same for all pages of a recommendation."""
        base, slash, first = self.page_id.rpartition("/")
        return base if slash and first.isdigit() else self.page_id


@dataclass(frozen=True, slots=True)
class EventLog:
    """All that training may read, and the library's items that it speaks of."""

    acts: Sequence[LoggedAct]
    pages: Sequence[LoggedPage]
    items: Sequence[Item]
    dropped: Mapping[str, int] = field(default_factory=dict)


def corpus_of_log(log: EventLog, options: CorpusOptions) -> Corpus:
    """The log as a corpus, cut by time. What is known of no item of the library any more is dropped and counted."""
    assembly = Assembly(tuple(log.items), options, Counter(log.dropped))
    columns = columns_of(options)
    examples: list[Example] = []
    acts: list[Interaction] = []
    for user in _users(log, assembly):
        done = user.attribute(options)
        acts += user.acts
        for page in user.pages:
            items = [item for item, _ in page.items]
            labels = labels_of(items, done[page.page_id], columns)
            examples.append(assembly.example(user.impression(page, options.max_history), labels))
    return unsplit(assembly, Draft("event-log", columns, {}, assembly.events(acts)), examples)


@dataclass(slots=True)
class _User:
    """One user's part of the log."""

    logged: list[LoggedAct] = field(default_factory=list)
    pages: list[LoggedPage] = field(default_factory=list)
    acts: list[Interaction] = field(default_factory=list)
    """By time, none older than its page; there once `attribute` was called."""

    def attribute(self, options: CorpusOptions) -> dict[str, set[tuple[str, str]]]:
        """By page id what was done on it, as (item id, action)."""
        self.pages.sort(key=attrgetter("time"))
        done: dict[str, set[tuple[str, str]]] = {page.page_id: set() for page in self.pages}
        named = {(page.recommendation_id, item): page for page in self.pages for item, _ in page.items}
        shown: dict[str, list[LoggedPage]] = {}
        for page in self.pages:
            for item, _ in page.items:
                shown.setdefault(item, []).append(page)
        for logged in self.logged:
            act = logged.interaction
            if logged.recommendation_id:
                cause = named.get((logged.recommendation_id, act.item_id))
            else:
                cause = _latest(shown.get(act.item_id, ()), act.time)
            if cause is not None:
                act = replace(act, time=max(act.time, cause.time))
                if is_act(act, options):
                    done[cause.page_id].add((act.item_id, act.action))
            self.acts.append(act)
        self.acts.sort(key=attrgetter("time"))
        return done

    def impression(self, page: LoggedPage, most: int) -> Impression:
        """The page behind what had been done before it: of each item the last act, as pages are ranked."""
        last: dict[str, HistoryEntry] = {}
        for place in range(bisect_left(self.acts, page.time, key=attrgetter("time")) - 1, -1, -1):
            if len(last) == most:
                break
            act = self.acts[place]
            last.setdefault(act.item_id, HistoryEntry(act.item_id, act.action, act.time))
        return Impression(
            impression_id=page.page_id,
            user_id=page.subject,
            time=page.time,
            history=tuple(reversed(last.values())),
            candidates=tuple(Candidate(item, 0, position) for item, position in page.items),
        )


def _users(log: EventLog, assembly: Assembly) -> Iterable[_User]:
    """The log by user, without what speaks of items that are gone."""
    users: dict[str, _User] = {}
    for act in log.acts:
        if act.interaction.item_id in assembly.rows:
            users.setdefault(act.interaction.user_id, _User()).logged.append(act)
        else:
            assembly.dropped["act on an item that is gone"] += 1
    for page in log.pages:
        known = tuple(entry for entry in page.items if entry[0] in assembly.rows)
        if len(known) < len(page.items):
            assembly.dropped["served item that is gone"] += len(page.items) - len(known)
        if known:
            users.setdefault(page.subject, _User()).pages.append(replace(page, items=known))
        else:
            assembly.dropped["page without known item"] += 1
    return users.values()


def _latest(pages: Sequence[LoggedPage], time: float) -> LoggedPage | None:
    """The last of the pages (by time) that was served up to SAME_VISIT_S before `time`."""
    before = bisect_right(pages, time, key=attrgetter("time"))
    return pages[before - 1] if before and time - pages[before - 1].time <= SAME_VISIT_S else None
