"""The ranker as its callers see it: a real server, a real channel, a real (tiny) model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ranker.models import Attempt, Models, Served
from services.ranker.service import RankerService
from services.ranker.servicer import RankerServicer, Room
from services.ranker.settings import RankerSettings
from shared import call
from shared.clock import SystemClock
from shared.errors import Reason, ServiceError
from shared.model.base import Base
from shared.model.manifest import Metric
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.tokens import TokenIds, Tokeniser
from shared.model.zero_shot import zero_shot_model
from shared.server import Runtime
from shared.settings import load
from shared.start import StartError
from tests.conftest import OpenChannel
from tests.ranker.conftest import StartRanker
from tests.ranker.ranking_bench import Bench
from tests.ranker.service_bench import entry, item, rank_of, reason_of


@pytest.fixture
async def stub(start_ranker: StartRanker, open_test_channel: OpenChannel) -> ranker_pb2_grpc.RankerAsyncStub:
    return ranker_pb2_grpc.RankerStub(open_test_channel(await start_ranker()))


async def test_scores_come_in_the_order_of_the_candidates(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    candidates = [item(row) for row in range(20)]
    history = [entry("bicycle race"), entry("sport news")]
    answer = await stub.Rank(ranker_pb2.RankRequest(history=history, candidates=candidates))
    back = await stub.Rank(ranker_pb2.RankRequest(history=history, candidates=candidates[::-1]))
    scores = [score.probabilities[0] for score in answer.scores]
    np.testing.assert_allclose([score.probabilities[0] for score in back.scores][::-1], scores, atol=1e-5)
    assert len(set(scores)) > 10
    assert all(0 <= score <= 1 for score in scores)
    assert (list(answer.actions), answer.calibrated) == (["click"], False)
    assert answer.model_version.startswith("tiny-zero-shot-cosine-")


async def test_embed_fills_the_cache_that_rank_uses(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    embedded = await stub.Embed(ranker_pb2.EmbedRequest(items=[item(row) for row in range(5)]))
    assert embedded.dimensions == 32
    for vector in embedded.embeddings:
        assert np.linalg.norm(vector.values) == pytest.approx(1, abs=1e-5)
    request = ranker_pb2.RankRequest(history=[entry("race")], candidates=[item(row) for row in range(7)])
    first, second = await stub.Rank(request), await stub.Rank(request)
    assert (first.timings.cached_candidates, second.timings.cached_candidates) == (5, 7)
    assert first.timings.computed_tokens > second.timings.computed_tokens == 0
    assert first.timings.compute.ToMicroseconds() > 0
    assert second.timings.compute.ToMicroseconds() == 0


async def test_a_user_without_history_gets_one_score_for_all(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    answer = await stub.Rank(ranker_pb2.RankRequest(candidates=[item(1), item(2, "bank interest")]))
    one, other = (score.probabilities[0] for score in answer.scores)
    assert one == other
    assert 0 < one < 1


async def test_the_limits_of_the_contract_are_served(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    long = ranker_pb2.ItemText(item_id="i" * 256, title="t" * 1000, category="c" * 256, publisher="p" * 256)
    history = [ranker_pb2.HistoryText(item=long, time=Timestamp(seconds=1))] * 500
    answer = await stub.Rank(ranker_pb2.RankRequest(surface="s" * 64, history=history, candidates=[long] * 1000))
    assert len(answer.scores) == 1000
    answer = await stub.Embed(ranker_pb2.EmbedRequest(items=[long] * 256))
    assert len(answer.embeddings) == 256


async def test_every_wrong_field_of_a_rank_is_named(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    request = ranker_pb2.RankRequest(
        surface="s" * 65,
        history=[
            entry(""),
            ranker_pb2.HistoryText(item=item(1), action=99, time=Timestamp(nanos=-1)),  # type: ignore[arg-type]
        ],
        candidates=[item(1), ranker_pb2.ItemText(title="t" * 1001, category="c" * 257, publisher="p" * 257)],
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Rank(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = reason_of(refused.value)
    assert told.reason is Reason.INVALID_FIELD
    assert {violation.field for violation in told.violations} == {
        "surface",
        "history[0].item.title",
        "history[1].action",
        "history[1].time",
        "candidates[1].item_id",
        "candidates[1].title",
        "candidates[1].category",
        "candidates[1].publisher",
    }


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ranker_pb2.RankRequest(), "candidates"),
        (ranker_pb2.RankRequest(candidates=[item(1)] * 1001), "candidates"),
        (ranker_pb2.RankRequest(candidates=[item(1)], history=[entry("race")] * 501), "history"),
        (ranker_pb2.EmbedRequest(), "items"),
        (ranker_pb2.EmbedRequest(items=[item(1)] * 257), "items"),
        (ranker_pb2.EmbedRequest(items=[ranker_pb2.ItemText(item_id="a")]), "items[0].title"),
        (ranker_pb2.ListModelsRequest(page_size=1001), "page_size"),
        (ranker_pb2.ListModelsRequest(page_size=-1), "page_size"),
    ],
)
async def test_lists_and_pages_out_of_bounds_are_refused(
    stub: ranker_pb2_grpc.RankerAsyncStub, request_: object, field: str
) -> None:
    method = {
        ranker_pb2.RankRequest: stub.Rank,
        ranker_pb2.EmbedRequest: stub.Embed,
        ranker_pb2.ListModelsRequest: stub.ListModels,
    }[type(request_)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await method(request_)
    told = reason_of(refused.value)
    assert (told.reason, [violation.field for violation in told.violations]) == (Reason.INVALID_FIELD, [field])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(max_size=1100), category=st.text(max_size=300))
async def test_a_candidate_is_refused_for_exactly_its_wrong_fields(title: str, category: str) -> None:
    def wrong(text: str, least: int, most: int) -> bool:
        control = any((sign < " " and sign not in "\t\n\r") or "\x7f" <= sign <= "\x9f" for sign in text)
        return control or not least <= len(text) <= most

    candidate = ranker_pb2.ItemText(item_id="a", title=title, category=category)
    expected = [("title", wrong(title, 1, 1000)), ("category", wrong(category, 0, 256))]
    fields = [f"candidates[0].{name}" for name, is_wrong in expected if is_wrong]
    with pytest.raises(ServiceError) as refused:  # no model is loaded: what is valid is not found
        await RankerServicer(Room(Models(), SystemClock())).Rank(ranker_pb2.RankRequest(candidates=[candidate]), None)
    assert refused.value.reason is (Reason.INVALID_FIELD if fields else Reason.NOT_FOUND)
    assert [violation.field for violation in refused.value.violations] == fields


async def test_an_unknown_model_is_not_found_and_known_ones_are_named(
    stub: ranker_pb2_grpc.RankerAsyncStub,
) -> None:
    for method, request in (
        (stub.Rank, ranker_pb2.RankRequest(model="other", candidates=[item(1)])),
        (stub.Embed, ranker_pb2.EmbedRequest(model="other", items=[item(1)])),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(request)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert "zero-shot" in reason_of(refused.value).message


async def test_the_loaded_model_is_listed_and_answers_by_its_name(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    (model,) = (await stub.ListModels(ranker_pb2.ListModelsRequest())).models
    assert (model.name, model.state, model.split_depth) == ("zero-shot", ranker_pb2.MODEL_STATE_ACTIVE, 3)
    assert model.loaded_at.seconds > 0
    named = await stub.Rank(ranker_pb2.RankRequest(model=model.name, candidates=[item(1)]))
    assert named.model_version == model.version
    embedded = await stub.Embed(ranker_pb2.EmbedRequest(items=[item(1)]))
    assert embedded.embedding_version == model.embedding_version


async def test_a_text_that_the_model_cannot_read_fails_by_itself(
    stub: ranker_pb2_grpc.RankerAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Tokeniser.plain

    def plain(tokeniser: Tokeniser, texts: Sequence[str]) -> list[TokenIds]:
        return [(10**6,) if "poison" in text else known(tokeniser, [text])[0] for text in texts]

    monkeypatch.setattr(Tokeniser, "plain", plain)
    request = ranker_pb2.RankRequest(history=[entry("race")], candidates=[item(1), item(2, "poison"), item(3)])
    scores = (await stub.Rank(request)).scores
    assert [(len(score.probabilities), score.error_reason) for score in scores] == [(1, ""), (0, "INTERNAL"), (1, "")]
    embedded = (await stub.Embed(ranker_pb2.EmbedRequest(items=[item(2, "poison"), item(1)]))).embeddings
    assert [(len(each.values), each.error_reason) for each in embedded] == [(0, "INTERNAL"), (32, "")]
    request.history[0].item.title = "poison"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Rank(request)
    assert reason_of(refused.value).reason is Reason.INTERNAL
    assert (await stub.Rank(rank_of(1))).scores[0].probabilities


async def test_a_page_token_of_somebody_else_is_refused(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListModels(ranker_pb2.ListModelsRequest(page_token="x"))
    assert reason_of(refused.value).reason is Reason.INVALID_TOKEN


async def test_without_a_registry_nothing_can_be_activated_and_the_setting_is_named(
    stub: ranker_pb2_grpc.RankerAsyncStub,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ActivateModel(ranker_pb2.ActivateModelRequest(name="a", version="b"))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    told = reason_of(refused.value)
    assert told.reason is Reason.PRECONDITION
    assert "HOMEPAGE_RANKER_REGISTRY" in told.message


async def test_every_wrong_field_of_an_activation_is_named(stub: ranker_pb2_grpc.RankerAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ActivateModel(ranker_pb2.ActivateModelRequest(name="../news", surface="s" * 65))
    told = reason_of(refused.value)
    assert told.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in told.violations] == ["surface", "name", "version"]


async def test_before_a_model_is_loaded_the_answer_is_not_ready() -> None:
    room = Room(Models(), SystemClock())
    with pytest.raises(ServiceError) as refused:
        await RankerServicer(room).ActivateModel(ranker_pb2.ActivateModelRequest(name="a", version="b"), None)
    assert (refused.value.reason, refused.value.retry_after_s) == (Reason.NOT_READY, 1.0)
    assert not (await RankerServicer(room).ListModels(ranker_pb2.ListModelsRequest(), None)).models


async def test_models_that_are_loading_or_failed_are_listed_beside_those_that_answer(
    tiny_base: Base, tiny_packed: PackedBert
) -> None:
    models = Models()
    models.begin(Served(zero_shot_model(tiny_base, tiny_packed), loaded_at=5.0))
    models.attempt(Attempt("art", "v2"))
    models.attempt(Attempt("news", "v7", "its weights are missing"))
    listed = await RankerServicer(Room(models, SystemClock())).ListModels(ranker_pb2.ListModelsRequest(), None)
    assert [(model.name, model.state, model.failure) for model in listed.models] == [
        ("zero-shot", ranker_pb2.MODEL_STATE_ACTIVE, ""),
        ("art", ranker_pb2.MODEL_STATE_LOADING, ""),
        ("news", ranker_pb2.MODEL_STATE_FAILED, "its weights are missing"),
    ]
    assert list(listed.models[0].surfaces) == [""]


@pytest.fixture
async def bench(tiny_base: Base, tiny_packed: PackedBert) -> AsyncIterator[Bench]:
    made = Bench(tiny_base, tiny_packed)
    yield made
    await made.close()


def room_of(bench: Bench, *models: RankingModel, **defaults: str) -> Room:
    """Where these models answer, each the default of the surfaces that name it, beside the base's own."""
    room = Room(Models(), bench.clock, bench.ranking)
    room.models.begin(Served(zero_shot_model(bench.base, bench.packed), loaded_at=5.0))
    room.models.line_up({model.manifest.name: Served(model, loaded_at=6.0) for model in models}, defaults)
    return room


async def test_the_surface_chooses_the_model_and_its_manifest_is_what_is_told(bench: Bench) -> None:
    ranker = RankerServicer(room_of(bench, bench.model(1, metrics=(Metric("auc", 0.75),)), home="news"))
    for request, version, actions in (
        (ranker_pb2.RankRequest(surface="home", candidates=[item(1)]), "v1", ["click", "hide"]),
        (ranker_pb2.RankRequest(model="news", candidates=[item(1)]), "v1", ["click", "hide"]),
        (ranker_pb2.RankRequest(surface="sport", candidates=[item(1)]), "tiny-zero-shot", ["click"]),
    ):
        answer = await ranker.Rank(request, None)
        assert answer.model_version.startswith(version)
        assert list(answer.actions) == actions
        assert len(answer.scores[0].probabilities) == len(actions)
        assert answer.calibrated is (version == "v1")
    news, base = (await ranker.ListModels(ranker_pb2.ListModelsRequest(), None)).models
    assert (news.name, news.version, news.state, news.split_depth) == ("news", "v1", ranker_pb2.MODEL_STATE_ACTIVE, 1)
    assert (list(news.surfaces), list(base.surfaces), news.loaded_at.seconds) == (["home"], [""], 6)
    assert [(metric.name, metric.value) for metric in news.metrics] == [("auc", 0.75)]


async def test_a_model_without_vectors_of_its_own_embeds_with_the_base_and_says_so(bench: Bench) -> None:
    ranker = RankerServicer(room_of(bench, bench.model(1)))
    news, base = (await ranker.ListModels(ranker_pb2.ListModelsRequest(), None)).models
    assert news.state is ranker_pb2.MODEL_STATE_READY
    by_name, own = [
        await ranker.Embed(ranker_pb2.EmbedRequest(model=name, items=[item(1)]), None) for name in ("news", "")
    ]
    assert by_name == own
    assert own.embedding_version == news.embedding_version == base.embedding_version


async def test_what_the_core_refuses_is_told_in_the_words_of_the_contract(bench: Bench) -> None:
    ranker = RankerServicer(room_of(bench))
    token = call.deadline.set(bench.clock.monotonic())
    embed = ranker_pb2.EmbedRequest(items=[item(1)])
    for over in (ranker.Rank(rank_of(1), None), ranker.Embed(embed, None)):
        with pytest.raises(ServiceError) as refused:
            await over
        assert refused.value.reason is Reason.DEADLINE_TOO_SHORT
    call.deadline.reset(token)
    assert bench.observed.dropped == ["deadline", "deadline"]
    await bench.batcher.drain(0)
    for late in (ranker.Rank(rank_of(1), None), ranker.Embed(embed, None)):
        with pytest.raises(ServiceError) as refused:
            await late
        assert (refused.value.reason, refused.value.retry_after_s) == (Reason.NOT_READY, 1.0)


async def test_a_model_that_cannot_be_had_stops_the_start(tmp_path, start_ranker: StartRanker) -> None:
    with pytest.raises(StartError, match="no model"):
        await start_ranker(model=str(tmp_path))


async def test_a_service_that_never_started_stops_cleanly() -> None:
    ranker = load(RankerSettings, {})
    await RankerService(ranker, Runtime(ranker)).stop()


def test_settings_come_from_the_ranker_s_own_variables() -> None:
    ranker = load(RankerSettings, {"HOMEPAGE_RANKER_DTYPE": "bfloat16", "HOMEPAGE_RANKER_MAX_BATCH_TOKENS": "4096"})
    assert (ranker.dtype, ranker.max_batch_tokens, ranker.listen) == ("bfloat16", 4096, "127.0.0.1:50054")


async def test_the_packaged_model_ranks_by_meaning(start_ranker: StartRanker, open_test_channel: OpenChannel) -> None:
    host = await start_ranker(model="all-MiniLM-L6-v2")
    stub = ranker_pb2_grpc.RankerStub(open_test_channel(host))
    candidates = [item(1, "Central bank raises interest rates"), item(2, "Gravel bikes tested on muddy trails")]
    history = [entry("Tour stage won in the mountains"), entry("The best road bikes of the year")]
    answer = await stub.Rank(ranker_pb2.RankRequest(history=history, candidates=candidates))
    bank, bikes = (score.probabilities[0] for score in answer.scores)
    assert bikes > bank
    assert answer.model_version == "all-MiniLM-L6-v2-zero-shot-cosine-53aa5117"
