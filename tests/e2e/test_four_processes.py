"""The whole way on real processes: pages that fit, feedback that counts at once, and pages whatever is killed."""

import threading
from collections import Counter

import pytest
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from shared.timestamps import to_timestamp
from tests.e2e.conftest import NOW, Set, eventually


def items_of(page):
    return [item for section in page.sections for item in section.items]


def section(page, section_id):
    return next(each for each in page.sections if each.id == section_id)


def stages(page):
    return [homepage_pb2.Stage.Name(each.stage).removeprefix("STAGE_") for each in page.degraded]


def warm(running: Set, user: str) -> homepage_pb2.RecommendResponse:
    """A page with nothing degraded; the first calls after a start may find cold caches."""
    pages = []

    def whole() -> bool:
        pages.append(running.recommend(user))
        return not pages[-1].degraded

    eventually(whole, 30, "pages stay degraded")
    return pages[-1]


def test_a_readers_page_is_full_undegraded_and_about_what_was_read(running):
    page = warm(running, "cycling-reader-1")
    assert len(items_of(page)) == 24
    assert not page.degraded
    assert "zero-shot" in page.versions.model
    assert page.versions.index
    assert int(page.versions.profile) > 0
    top = Counter(item.display.category for item in section(page, "for_you").items[:6])
    assert top.most_common(1)[0][0] == "cycling"
    assert section(page, "because").title.startswith("Because you read")
    read = {f"cycling-{n}" for n in range(1, 5)}
    assert read.isdisjoint(item.item_id for item in items_of(page))


def test_a_new_visitor_gets_a_full_page(running):
    page = warm(running, "somebody-new")
    assert len(items_of(page)) == 24
    assert len({item.display.category for item in items_of(page)}) == 4


def test_pages_follow_one_another_without_repeating(running):
    first = warm(running, "space-reader-0")
    second = running.recommend("space-reader-0", page_token=first.next_page_token)
    shown = [item.item_id for page in (first, second) for item in items_of(page)]
    assert len(shown) == len(set(shown)) == 48
    assert second.recommendation_id == first.recommendation_id


def test_feedback_changes_the_next_page_at_once_and_counts_once(running):
    before = warm(running, "finance-reader-2")
    cooking = [item for item in items_of(before) if item.display.category == "cooking"][:3]
    assert cooking
    hidden = next(item for item in items_of(before) if item.display.category == "space")
    acts = [(item, event_pb2.ACTION_LIKE) for item in cooking] + [(hidden, event_pb2.ACTION_HIDE)]
    feedback = [
        homepage_pb2.Feedback(
            event_id=f"feedback-{number}", token=item.token, action=action, time=to_timestamp(NOW - 10 + number)
        )
        for number, (item, action) in enumerate(acts)
    ]
    request = homepage_pb2.RecordFeedbackRequest(user_id="finance-reader-2", feedback=feedback)
    assert running.homepage.RecordFeedback(request, timeout=5).recorded == len(acts)
    assert running.homepage.RecordFeedback(request, timeout=5).duplicates == len(acts)
    after = warm(running, "finance-reader-2")
    gone = {item.item_id for item, _ in acts}
    assert gone.isdisjoint(item.item_id for item in items_of(after))
    assert after.versions.profile != before.versions.profile

    def share(page):
        return sum(item.display.category == "cooking" for item in section(page, "for_you").items)

    assert share(after) > share(before)


class Caller:
    """Calls Recommend again and again from a thread, and keeps what came back."""

    def __init__(self, running: Set, user: str) -> None:
        self.pages: list[homepage_pb2.RecommendResponse] = []
        self.errors: list[Exception] = []
        self._running, self._user = running, user
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    def _call(self) -> None:
        while not self._end.is_set():
            try:
                # Long, so that a stage is late only when it hangs, not when a restarting neighbour has the cores.
                self.pages.append(self._running.recommend(self._user, timeout=5.0))
            except Exception as error:  # whatever it is, the test wants to see it
                self.errors.append(error)


@pytest.mark.parametrize(("name", "stage"), [("profile", "PROFILE"), ("ranker", "RANKING"), ("retrieval", "RETRIEVAL")])
def test_killing_a_service_costs_its_part_of_the_page_and_nothing_else(running, name, stage):
    warm(running, "cooking-reader-3")
    with Caller(running, "cooking-reader-3") as caller:
        eventually(lambda: len(caller.pages) >= 3, 20, "no pages")
        running.kill(name)
        killed_at = len(caller.pages)
        try:
            eventually(
                lambda: sum(stage in stages(page) for page in caller.pages[killed_at:]) >= 5,
                30,
                f"pages without {name} do not say so",
            )
        finally:
            running.restart(name)
        eventually(lambda: not caller.pages[-1].degraded, 60, f"pages stay degraded after {name} is back")
    assert caller.errors == []
    assert {len(items_of(page)) for page in caller.pages} == {24}
    for page in caller.pages:
        assert set(stages(page)) <= {stage, "RANKING"}  # a ranker may be late once when its callers come back
