"""A fusion blends what the model says, tells so, and never fails a call."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc

from services.ranker.blending import blended
from services.ranker.models import Models, Served
from services.ranker.servicer import RankerServicer, Room
from shared.errors import ServiceError
from shared.model.base import Base
from shared.model.blend import LOG_AGE, MODEL, Ask, Blend
from shared.model.packed import PackedBert
from shared.model.zero_shot import zero_shot_model
from tests.conftest import OpenChannel
from tests.ranker.conftest import StartRanker
from tests.ranker.ranking_bench import POISON, Bench
from tests.ranker.service_bench import entry, item, reason_of
from tests.shared.model.made_blend import made_ask, made_blend, made_fusion

PROBABILITIES = np.array([[0.5, 0.1], [0.9, 0.2], [np.nan, np.nan]], np.float32)
ASK = made_ask(probabilities=PROBABILITIES[:, 0].astype(float))


class FailingBlend(Blend):
    """Says what it is given, or fails."""

    def __init__(self, said: np.ndarray | None = None) -> None:
        self.said = said

    def probabilities(self, ask: Ask) -> np.ndarray:
        if self.said is None:
            raise RuntimeError("the text of this exception is nobody's business")
        return self.said


def test_the_first_action_is_blended_and_what_could_not_be_scored_stays_so() -> None:
    found = blended(made_blend(), ASK, PROBABILITIES)
    assert found is not None
    np.testing.assert_allclose(found[:2, 0], made_blend().probabilities(ASK)[:2], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], PROBABILITIES[:, 1])
    assert np.isnan(found[2]).all()
    assert PROBABILITIES[0, 0] == 0.5


@pytest.mark.parametrize("said", [None, np.array([0.5, np.nan, 0.5])])
def test_a_fusion_that_fails_leaves_the_models_answer_and_a_line_in_the_log(
    said: np.ndarray | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert blended(FailingBlend(said), ASK, PROBABILITIES) is None
    assert [record.message[:11] for record in caplog.records] == ["not blended"]


@pytest.fixture
async def bench(tiny_base: Base, tiny_packed: PackedBert) -> AsyncIterator[Bench]:
    made = Bench(tiny_base, tiny_packed)
    yield made
    await made.close()


def servicer(bench: Bench, blend: Blend | None) -> RankerServicer:
    """Where "news" answers, blended, beside the base's own model."""
    room = Room(Models(), bench.clock, bench.ranking)
    room.models.begin(Served(zero_shot_model(bench.base, bench.packed), loaded_at=5.0))
    room.models.line_up({"news": Served(bench.model(1), loaded_at=6.0, blend=blend)}, {"": "news"})
    return RankerServicer(room)


REQUEST = ranker_pb2.RankRequest(
    history=[entry("race")], candidates=[item(1), item(2)], now=Timestamp(seconds=1_700_000_000)
)


async def test_a_caller_who_sends_nothing_more_gets_blended_answers_as_well_as_one_who_does(bench: Bench) -> None:
    blend = Blend(made_fusion((MODEL, LOG_AGE)), None)
    blended_, plain = servicer(bench, blend), servicer(bench, None)
    alone = await plain.Rank(REQUEST, None)
    told = await blended_.Rank(REQUEST, None)
    assert (alone.blended, told.blended) == (False, True)
    assert (tuple(alone.weighed), tuple(told.weighed)) == ((), blend.fusion.names)
    dated = ranker_pb2.RankRequest()
    dated.CopyFrom(REQUEST)
    dated.signals.published_at_seconds.extend([1_699_000_000, math.nan])
    new, old = ([score.probabilities for score in answer.scores] for answer in (told, await blended_.Rank(dated, None)))
    assert new[0][0] != old[0][0]
    assert list(new[1]) == list(old[1])
    assert [score.probabilities[1] for score in alone.scores] == [each[1] for each in new]
    assert all(
        0 < each[0] < 1 and each[0] != score.probabilities[0] for each, score in zip(new, alone.scores, strict=True)
    )


async def test_without_now_ages_are_counted_from_the_clock_of_the_ranker(bench: Bench) -> None:
    ranker = servicer(bench, Blend(made_fusion((MODEL, LOG_AGE)), None))
    request = ranker_pb2.RankRequest(candidates=[item(1)])
    request.signals.published_at_seconds.append(bench.clock.now() - 86_400)
    unset = await ranker.Rank(request, None)
    request.now.FromSeconds(int(bench.clock.now()))
    assert (await ranker.Rank(request, None)).scores == unset.scores
    request.now.FromSeconds(int(bench.clock.now()) + 86_400)
    assert (await ranker.Rank(request, None)).scores != unset.scores


async def test_a_candidate_that_cannot_be_scored_fails_by_itself_and_a_failing_fusion_not_at_all(bench: Bench) -> None:
    poisoned = ranker_pb2.RankRequest(candidates=[item(1), item(2, POISON)])
    answer = await servicer(bench, made_blend()).Rank(poisoned, None)
    assert [bool(score.error_reason) for score in answer.scores] == [False, True]
    assert answer.blended
    failing = await servicer(bench, FailingBlend()).Rank(REQUEST, None)
    plain = await servicer(bench, None).Rank(REQUEST, None)
    assert failing.scores == plain.scores
    assert not failing.blended


@pytest.fixture
async def stub(start_ranker: StartRanker, open_test_channel: OpenChannel) -> ranker_pb2_grpc.RankerAsyncStub:
    return ranker_pb2_grpc.RankerStub(open_test_channel(await start_ranker()))


async def test_every_wrong_signal_is_named(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    request = ranker_pb2.RankRequest(candidates=[item(1), item(2), item(3)], now=Timestamp(nanos=-1))
    request.signals.published_at_seconds.extend([math.inf, 0, math.nan])
    request.signals.retrieval_scores.extend([1.5, 0.5, -0.5])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Rank(request)
    assert _fields(reason_of(refused.value)) == {
        "signals.published_at_seconds[0]",
        "signals.retrieval_scores[0]",
        "signals.retrieval_scores[2]",
        "now",
    }


async def test_signals_that_are_too_many_are_told_as_one_thing_however_wrong(
    stub: ranker_pb2_grpc.RankerAsyncStub,
) -> None:
    request = ranker_pb2.RankRequest(candidates=[item(1)])
    request.signals.retrieval_scores.extend([2.0] * 100_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Rank(request)
    assert _fields(reason_of(refused.value)) == {"signals.retrieval_scores"}


def _fields(told: ServiceError) -> set[str]:
    return {violation.field for violation in told.violations}


async def test_signals_that_no_fusion_reads_change_nothing(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    request = ranker_pb2.RankRequest(history=[entry("race")], candidates=[item(1)])
    plain = await stub.Rank(request)
    request.signals.retrieval_scores.append(1.0)
    answer = await stub.Rank(request)
    assert answer.scores == plain.scores
    assert not answer.blended
