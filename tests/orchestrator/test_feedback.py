"""Homepage.RecordFeedback: only what was really shown to this user counts, and nothing is lost."""

import grpc
import pytest
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from shared.errors import Reason
from shared.rich_status import from_rpc_error
from tests.orchestrator.test_recommend import items_of
from tests.stand_ins import NOW


def click(token, event_id="e1", **fields):
    return homepage_pb2.Feedback(event_id=event_id, token=token, action=event_pb2.ACTION_CLICK, **fields)


async def send(homepage, *feedback, user_id="ann", **fields):
    request = homepage_pb2.RecordFeedbackRequest(user_id=user_id, feedback=feedback, **fields)
    return await homepage.stub.RecordFeedback(request, timeout=5)


async def refused(homepage, *feedback, **fields):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(homepage, *feedback, **fields)
    return from_rpc_error(caught.value)


async def test_feedback_is_recorded_with_what_the_page_knew(homepage):
    page = await homepage.recommend(surface="front")
    shown = items_of(page)[2]
    response = await send(homepage, click(shown.token), session_id="s1")
    assert (response.recorded, response.duplicates) == (1, 0)
    event = homepage.profile.recorded["e1"].event
    assert event.item_id == shown.item_id
    assert event.category == shown.display.category
    assert event.position == 3
    assert event.surface == "front"
    assert event.recommendation_id == page.recommendation_id
    assert event.session_id == "s1"
    assert event.time.seconds == NOW


async def test_feedback_sent_twice_counts_once(homepage):
    token = items_of(await homepage.recommend())[0].token
    await send(homepage, click(token))
    again = await send(homepage, click(token))
    assert (again.recorded, again.duplicates) == (0, 1)


async def test_a_token_of_another_user_is_refused_and_nothing_is_recorded(homepage):
    token = items_of(await homepage.recommend(user_id="bob"))[0].token
    mine = items_of(await homepage.recommend())[0].token
    error = await refused(homepage, click(mine, "e1"), click(token, "e2"))
    assert error.reason is Reason.INVALID_TOKEN
    assert [violation.field for violation in error.violations] == ["feedback[1].token"]
    assert "e1" not in homepage.profile.recorded


@pytest.mark.parametrize("forged", ["", "x", "AAAA" * 20, "é", "=" * 8])
async def test_a_forged_token_is_refused(homepage, forged):
    error = await refused(homepage, click(forged))
    assert [violation.field for violation in error.violations] == ["feedback[0].token"]


async def test_a_changed_token_is_refused(homepage):
    token = items_of(await homepage.recommend())[0].token
    for index in range(0, len(token), 7):
        changed = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        assert (await refused(homepage, click(changed))).reason is Reason.INVALID_TOKEN


async def test_a_page_token_is_no_item_token(homepage):
    page = await homepage.recommend()
    assert (await refused(homepage, click(page.next_page_token))).reason is Reason.INVALID_TOKEN


async def test_a_preview_takes_no_feedback(homepage):
    token = items_of(await homepage.recommend(mode=homepage_pb2.MODE_PREVIEW))[0].token
    assert (await refused(homepage, click(token))).reason is Reason.INVALID_TOKEN


async def test_an_old_token_is_refused(homepage):
    token = items_of(await homepage.recommend())[0].token
    homepage.clock.wall += 31 * 86_400
    assert (await refused(homepage, click(token))).reason is Reason.INVALID_TOKEN


async def test_a_visitor_who_signed_in_can_still_send_feedback(homepage):
    token = items_of(await homepage.recommend(user_id="", visitor_id="v1"))[0].token
    response = await send(homepage, click(token), visitor_id="v1")
    assert response.recorded == 1


async def test_without_store_feedback_is_refused_not_dropped(homepage):
    token = items_of(await homepage.recommend())[0].token
    homepage.profile.failing.status = grpc.StatusCode.UNAVAILABLE
    error = await refused(homepage, click(token))
    assert error.reason is Reason.UPSTREAM_UNAVAILABLE
    assert error.retry_after_s > 0


@pytest.mark.parametrize(
    ("field", "feedback"),
    [
        ("feedback[0].event_id", homepage_pb2.Feedback(token="t", action=2)),
        ("feedback[0].action", homepage_pb2.Feedback(token="t", event_id="e")),
        ("feedback[0].token", homepage_pb2.Feedback(action=2, event_id="e")),
        ("feedback[0].value", homepage_pb2.Feedback(token="t", action=2, event_id="e", value=-1)),
        ("feedback[0].value", homepage_pb2.Feedback(token="t", action="ACTION_CLICK", event_id="e", value=3)),
        ("feedback[0].value", homepage_pb2.Feedback(token="t", action="ACTION_RATE", event_id="e", value=7)),
        ("feedback[0].value", homepage_pb2.Feedback(token="t", action=2, event_id="e", value=float("nan"))),
    ],
)
async def test_a_bad_field_is_named(homepage, field, feedback):
    error = await refused(homepage, feedback)
    assert error.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


async def test_feedback_that_is_empty_is_refused(homepage):
    assert (await refused(homepage)).violations[0].field == "feedback"
