"""The show: one user's page, what the user does with it, and how the next page follows.

All times of the show run from the data set's own present on, so that old data behaves as it did on its last day.
"""

import time
from collections.abc import Mapping, Sequence

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2, homepage_pb2_grpc
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from services.cli.changes import Change, Kind, compare, of_kind
from services.cli.page_view import (
    acts_view,
    degradations,
    interests_line,
    left_view,
    milliseconds,
    page_view,
    person_view,
)
from services.cli.report import Scene, Shown
from services.cli.showcase import Act, acts_on, first_clicks, page_items, unfamiliar_category
from shared.ids import derived_id
from shared.timestamps import to_timestamp

COLD_LIMIT_S = 5.0
"""Deadline of a first call: models and caches are cold."""
LIMIT_S = 0.5
"""Deadline of a page as a real caller would set it."""
USER_PAGE = 24
VISITOR_PAGE = 12
VISITOR_ID = "demo-visitor"
_CALL_LIMIT_S = 5.0
_BETWEEN_ACTS_S = 20.0


class Show:
    """Speaks to the orchestrator as a client team would; to the profile service only to tell who the user is."""

    def __init__(
        self, homepage: grpc.Channel, profile: grpc.Channel, titles: Mapping[str, str], console: Console
    ) -> None:
        self._homepage = homepage_pb2_grpc.HomepageStub(homepage)
        self._profile = profile_pb2_grpc.ProfileStub(profile)
        self._titles = titles
        self._console = console

    def known_user(self, user_id: str, now: float) -> Scene:
        """The page of a user with a past; then a sudden new interest, and the page that follows."""
        who = homepage_pb2.RecommendRequest(user_id=user_id, page_size=USER_PAGE)
        profile = self._get_profile(user_id, now)
        self._print(person_view(user_id, profile, self._titles))
        before = self._first_page(who, now)
        self._print(self._view(before.page))
        category = unfamiliar_category(before.page, profile.interests)
        acts = acts_on(before.page, category, profile.interests)
        self._heading(
            f"Feedback: a sudden interest in {category or 'something new'}, and one item never to be seen again"
        )
        self._print(acts_view(acts))
        now = self._feed_back(who, acts, now)
        learnt = self._get_profile(user_id, now).interests
        self._print(Text.assemble(("Cares for now  ", "dim"), interests_line(learnt)))
        self._heading("The same user's next page")
        return self._next_page("known user", who, before, acts, now)

    def new_visitor(self, now: float) -> Scene:
        """The page of somebody never seen before; then two clicks, and the page that follows."""
        who = homepage_pb2.RecommendRequest(visitor_id=VISITOR_ID, page_size=VISITOR_PAGE)
        before = self._page(who, now)
        self._print(self._view(before.page))
        acts = first_clicks(before.page)
        self._heading("The visitor clicks twice")
        self._print(acts_view(acts))
        now = self._feed_back(who, acts, now)
        self._heading("The visitor's next page")
        return self._next_page("new visitor", who, before, acts, now)

    def _next_page(
        self, name: str, who: homepage_pb2.RecommendRequest, before: Shown, acts: Sequence[Act], now: float
    ) -> Scene:
        after = self._page(who, now)
        ids = [item.item_id for item in page_items(after.page)]
        changes = compare([item.item_id for item in page_items(before.page)], ids)
        acted = dict.fromkeys(act.item.item_id for act in acts)
        still_there = [item_id for item_id in acted if item_id in set(ids)]
        self._print(self._view(after.page, changes))
        left = of_kind(changes, Kind.LEFT)
        if left:
            self._console.print()
            self._print(left_view(left, before.page, acts))
        counts = {kind: len(of_kind(changes, kind)) for kind in Kind}
        told = ", ".join(f"{counts[kind]} {word}" for kind, word in _WORDS.items() if counts[kind])
        self._console.print(f"\n  [bold]Changed[/]   {told}")
        if still_there:
            self._console.print(f"  [bold red]✗ {len(still_there)} items acted upon are still on the page[/]")
        else:
            self._console.print(f"  [green]✓[/] the {len(acted)} items acted upon are gone from the page")
        return Scene(name, who.user_id, who.visitor_id, before, acts, after, changes, still_there)

    def _first_page(self, who: homepage_pb2.RecommendRequest, now: float) -> Shown:
        """Cold, then the same request again, to tell what a first call costs."""
        page, elapsed = self._recommend(who, now, COLD_LIMIT_S)
        _, again = self._recommend(who, now, COLD_LIMIT_S)
        self._console.print(
            f"\n  Page in [bold]{milliseconds(elapsed)}[/] at the first call; "
            f"the same page again in [bold]{milliseconds(again)}[/].\n"
        )
        return Shown(page, COLD_LIMIT_S, elapsed, again)

    def _page(self, who: homepage_pb2.RecommendRequest, now: float) -> Shown:
        """Within the usual limit; a machine too slow for it is told of, and given more time."""
        limit = LIMIT_S
        page, elapsed = self._recommend(who, now, limit)
        if any(entry.cause == homepage_pb2.DEGRADED_CAUSE_LATE for entry in page.degraded):
            self._console.print(f"\n  [yellow]Within {milliseconds(limit)} this machine gives a plainer page:[/]")
            for told in degradations(page):
                self._console.print(f"  {told}")
            self._console.print(f"  Asked again with {COLD_LIMIT_S:g} s:")
            limit = COLD_LIMIT_S
            page, elapsed = self._recommend(who, now, limit)
        self._console.print(f"\n  Page in [bold]{milliseconds(elapsed)}[/] (limit {milliseconds(limit)}).\n")
        return Shown(page, limit, elapsed)

    def _recommend(
        self, who: homepage_pb2.RecommendRequest, now: float, limit_s: float
    ) -> tuple[homepage_pb2.RecommendResponse, float]:
        request = homepage_pb2.RecommendRequest()
        request.CopyFrom(who)
        request.request_id = derived_id("demo", who.user_id, who.visitor_id, str(now))
        request.context.now.CopyFrom(to_timestamp(now))
        started = time.perf_counter()
        page = self._homepage.Recommend(request, timeout=limit_s)
        return page, time.perf_counter() - started

    def _feed_back(self, who: homepage_pb2.RecommendRequest, acts: Sequence[Act], now: float) -> float:
        """Sends the acts, some seconds apart; returns the moment after the last."""
        request = homepage_pb2.RecordFeedbackRequest(user_id=who.user_id, visitor_id=who.visitor_id)
        for act in acts:
            now += _BETWEEN_ACTS_S
            event_id = derived_id("demo", act.item.token, event_pb2.Action.Name(act.action))
            request.feedback.add(event_id=event_id, token=act.item.token, action=act.action, time=to_timestamp(now))
        started = time.perf_counter()
        answer = self._homepage.RecordFeedback(request, timeout=_CALL_LIMIT_S)
        elapsed = milliseconds(time.perf_counter() - started)
        self._console.print(f"  [dim]{answer.recorded} acts recorded, on disk after {elapsed}[/]")
        return now + _BETWEEN_ACTS_S

    def _get_profile(self, user_id: str, now: float) -> profile_pb2.UserProfile:
        request = profile_pb2.GetProfileRequest(user_id=user_id, now=to_timestamp(now))
        return self._profile.GetProfile(request, timeout=_CALL_LIMIT_S).profile

    def _view(self, page: homepage_pb2.RecommendResponse, changes: Sequence[Change] = ()) -> RenderableType:
        return page_view(page, changes, width=self._console.width)

    def _heading(self, text: str) -> None:
        self._console.print(Text(f"\n  {text}", style="bold"))

    def _print(self, content: RenderableType) -> None:
        self._console.print(Padding(content, (0, 0, 0, 2)))


_WORDS = {
    Kind.ENTERED: "entered",
    Kind.LEFT: "left",
    Kind.UP: "moved up",
    Kind.DOWN: "moved down",
    Kind.STAYED: "stayed",
}
