"""Pages that follow one another never repeat an item, whatever changes in between."""

import grpc
import pytest
from homepage.types.v1 import item_pb2
from homepage.v1 import homepage_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orchestrator.tokens import PageToken, TokenError, Tokens
from shared.errors import Reason
from shared.rich_status import from_rpc_error
from tests.orchestrator.test_recommend import ids_of, items_of
from tests.stand_ins import candidate


async def pages_of(homepage, sizes, **fields):
    pages, token = [], ""
    for size in sizes:
        page = await homepage.recommend(page_size=size, page_token=token, **fields)
        pages.append(page)
        token = page.next_page_token
        if not token:
            break
    return pages


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_item_stands_twice_and_positions_run_on(homepage, data):
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=6))
    shuffle = data.draw(st.randoms(use_true_random=False))
    order = list(range(100, 160))
    shuffle.shuffle(order)
    homepage.retrieval.candidates = [candidate(n) for n in order]
    pages, token, seen = [], "", []
    for size in sizes:
        salt = shuffle.random()
        homepage.ranker.probability = lambda number, salt=salt: (number * salt) % 1 * 0.8 + 0.1
        page = await homepage.recommend(page_size=size, page_token=token)
        pages.append(page)
        seen += ids_of(page)
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen))
    assert [item.position for page in pages for item in items_of(page)] == list(range(1, len(seen) + 1))
    assert len({page.recommendation_id for page in pages}) == 1


async def test_the_pages_end_when_everything_was_shown(homepage):
    pages = await pages_of(homepage, [25] * 10)
    assert [len(ids_of(page)) for page in pages] == [25, 25, 10]
    assert pages[-1].next_page_token == ""


async def test_later_pages_go_on_with_for_you(homepage):
    _, second = await pages_of(homepage, [24, 24])
    assert [section.id for section in second.sections] == ["for_you"]


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": "bob"},
        {"surface": "other"},
        {"filter": item_pb2.ItemFilter(include_categories=["c1"])},
        {"exclude_item_ids": ["i159"]},
        {"knobs": homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_OFF)},
    ],
)
async def test_a_page_token_belongs_to_its_user_and_request(homepage, changed):
    page = await homepage.recommend()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await homepage.recommend(page_token=page.next_page_token, **changed)
    error = from_rpc_error(caught.value)
    assert error.reason is Reason.INVALID_TOKEN
    assert [violation.field for violation in error.violations] == ["page_token"]


ids = st.text(min_size=1, max_size=40)


@given(shown=st.lists(ids, max_size=200), recommendation=ids)
def test_a_page_token_reads_back_what_was_signed(shown, recommendation):
    tokens = Tokens([b"k" * 16])
    token = PageToken(recommendation, "user", "request", tuple(shown))
    assert tokens.read_page(tokens.sign_page(token)) == token


@given(text=st.text(max_size=200))
def test_no_text_that_was_not_signed_is_a_token(text):
    tokens = Tokens([b"k" * 16])
    for read in (tokens.read_item, tokens.read_page):
        with pytest.raises(TokenError):
            read(text)


def test_an_older_key_still_verifies_and_a_dropped_one_does_not():
    old, new = b"o" * 16, b"n" * 16
    text = Tokens([old]).sign_page(PageToken("r", Tokens([old]).user_hash("u:ann"), "f", ("a",)))
    rotated = Tokens([new, old])
    assert rotated.is_user(rotated.read_page(text).user, "u:ann")
    with pytest.raises(TokenError):
        Tokens([new]).read_page(text)
