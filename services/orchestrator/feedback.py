"""Feedback on a page: checked against the tokens the page went out with, then handed to the event log."""

from dataclasses import dataclass

from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from services.orchestrator.requests import names_of
from services.orchestrator.tokens import ItemToken, TokenError, Tokens
from shared.clock import Clock
from shared.contract_checks import MOST_AHEAD_S, check_act
from shared.errors import Reason
from shared.timestamps import to_timestamp
from shared.validation import Checks

_MOST = 200


@dataclass(frozen=True, slots=True)
class FeedbackReader:
    """Turns feedback into events. `token_age_s` in seconds: an older token is refused."""

    tokens: Tokens
    clock: Clock
    token_age_s: float

    def read(self, request: homepage_pb2.RecordFeedbackRequest) -> list[profile_pb2.UserEvent]:
        """One event per feedback, in its order.

        Raises:
            ServiceError: INVALID_FIELD for what is malformed, else INVALID_TOKEN for tokens that are not of this
                service, this user, a live page, or recent; all violations at once, and nothing is recorded.
        """
        self._check(request)
        tokens = self._tokens(request)
        now = to_timestamp(self.clock.now())
        events = []
        for feedback, token in zip(request.feedback, tokens, strict=True):
            event = profile_pb2.UserEvent(
                user_id=request.user_id,
                visitor_id=request.visitor_id,
                event=event_pb2.Event(
                    event_id=feedback.event_id,
                    action=feedback.action,
                    item_id=token.item_id,
                    time=feedback.time if feedback.HasField("time") else now,
                    value=feedback.value,
                    category=token.category,
                    recommendation_id=token.issue.recommendation_id,
                    position=token.position,
                    surface=token.issue.surface,
                    session_id=request.session_id,
                ),
            )
            if request.HasField("consent"):
                event.consent.CopyFrom(request.consent)
            events.append(event)
        return events

    def _check(self, request: homepage_pb2.RecordFeedbackRequest) -> None:
        checks = Checks()
        checks.user(request.user_id, request.visitor_id)
        checks.text("session_id", request.session_id, 128)
        checks.size("feedback", request.feedback, _MOST, least=1)
        latest = self.clock.now() + MOST_AHEAD_S
        for index, feedback in enumerate(request.feedback[:_MOST]):
            path = f"feedback[{index}]"
            checks.text(f"{path}.event_id", feedback.event_id, 128, least=1)
            if not feedback.token:
                checks.fail(f"{path}.token", "is required: send back the token the item came with")
            if feedback.HasField("time"):
                checks.timestamp(f"{path}.time", feedback.time, latest=latest)
            check_act(checks, path, feedback.action, feedback.value)
        checks.done()

    def _tokens(self, request: homepage_pb2.RecordFeedbackRequest) -> list[ItemToken]:
        names = names_of(request.user_id, request.visitor_id)
        checks, tokens = Checks(), []
        for index, feedback in enumerate(request.feedback):
            path = f"feedback[{index}].token"
            try:
                token = self.tokens.read_item(feedback.token)
            except TokenError:
                checks.fail(path, "is not an item token of this service")
                continue
            if not any(self.tokens.is_user(token.issue.user, name) for name in names):
                checks.fail(path, "was made for another user")
            elif not token.issue.recordable:
                checks.fail(path, "comes from a preview or shadow page, which takes no feedback")
            elif self.clock.now() - token.issue.issued_at > self.token_age_s:
                checks.fail(path, "is too old")
            tokens.append(token)
        checks.done(Reason.INVALID_TOKEN)
        return tokens
