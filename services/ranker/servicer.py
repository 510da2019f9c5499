"""The gRPC face of the ranker: validates, translates, calls the core, translates back."""

from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.types.v1 import event_pb2

from services.ranker.models import LoadedModel, Models, UnknownModelError
from services.ranker.vectors import Item, Timings
from services.ranker.work import NO_DEADLINE, ClosedError, DeadlinePassedError, OverloadedError
from shared import call
from shared.errors import Reason, ServiceError, not_implemented
from shared.model.text import HistoryText, ItemText
from shared.timestamps import to_duration, to_timestamp
from shared.validation import Checks

MAX_HISTORY, MAX_CANDIDATES, MAX_EMBEDDED, MAX_PAGE = 500, 1000, 256, 1000

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")


class RankerServicer(ranker_pb2_grpc.RankerServicer):
    """homepage.ranker.v1.Ranker."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def Rank(self, request: ranker_pb2.RankRequest, _context: Context) -> ranker_pb2.RankResponse:
        """Probability of each action of the model, for each candidate."""
        _check_rank(request)
        model = self._model(request.model)
        history, candidates = [_entry(entry) for entry in request.history], [_item(item) for item in request.candidates]
        ranked = await _answered(model.rank(history, candidates, _deadline()))
        return ranker_pb2.RankResponse(
            scores=[ranker_pb2.CandidateScore(probabilities=row) for row in ranked.probabilities.tolist()],
            actions=model.manifest.actions,
            model_version=model.manifest.version,
            calibrated=model.manifest.calibrated,
            timings=_timings(ranked.timings),
        )

    async def Embed(self, request: ranker_pb2.EmbedRequest, _context: Context) -> ranker_pb2.EmbedResponse:
        """Unit vectors of texts."""
        checks = Checks()
        checks.size("items", request.items, MAX_EMBEDDED, least=1)
        for row, item in enumerate(request.items[:MAX_EMBEDDED]):
            _check_item(checks, f"items[{row}]", item)
        checks.done()
        model = self._model(request.model)
        vectors = await _answered(model.embed([_item(item) for item in request.items], _deadline()))
        return ranker_pb2.EmbedResponse(
            embeddings=[ranker_pb2.Embedding(values=row) for row in vectors.tolist()],
            embedding_version=model.manifest.embedding_version,
            dimensions=vectors.shape[1],
        )

    async def ListModels(
        self, request: ranker_pb2.ListModelsRequest, _context: Context
    ) -> ranker_pb2.ListModelsResponse:
        """The models that are loaded; so few that one page holds them."""
        checks = Checks()
        checks.number("page_size", request.page_size, 0, MAX_PAGE)
        checks.done()
        if request.page_token:
            raise ServiceError(Reason.INVALID_TOKEN, "page_token is not one of ours: all models are on the first page")
        return ranker_pb2.ListModelsResponse(models=[_described(model) for model in self._models.every()])

    async def ActivateModel(
        self, _request: ranker_pb2.ActivateModelRequest, _context: Context
    ) -> ranker_pb2.ActivateModelResponse:
        """Later."""
        raise not_implemented("Ranker.ActivateModel")

    def _model(self, name: str) -> LoadedModel:
        try:
            return self._models.get(name)
        except UnknownModelError:
            known = ", ".join(model.manifest.name for model in self._models.every())
            raise ServiceError(Reason.NOT_FOUND, f"no model of this name is loaded; known: {known}") from None


def _check_rank(request: ranker_pb2.RankRequest) -> None:
    checks = Checks()
    checks.text("surface", request.surface, 64)
    checks.size("history", request.history, MAX_HISTORY)
    checks.size("candidates", request.candidates, MAX_CANDIDATES, least=1)
    for row, entry in enumerate(request.history[:MAX_HISTORY]):
        _check_item(checks, f"history[{row}].item", entry.item)
        checks.enum(f"history[{row}].action", entry.action, event_pb2.Action)
        if entry.HasField("time"):
            checks.timestamp(f"history[{row}].time", entry.time)
    for row, item in enumerate(request.candidates[:MAX_CANDIDATES]):
        _check_item(checks, f"candidates[{row}]", item)
    checks.done()


def _check_item(checks: Checks, path: str, item: ranker_pb2.ItemText) -> None:
    checks.text(f"{path}.item_id", item.item_id, 256, least=1)
    checks.text(f"{path}.title", item.title, 1000, least=1)
    checks.text(f"{path}.category", item.category, 256)
    checks.text(f"{path}.publisher", item.publisher, 256)


def _item(item: ranker_pb2.ItemText) -> Item:
    return Item(item.item_id, item.revision, ItemText(item.title, item.category, item.publisher))


def _entry(entry: ranker_pb2.HistoryText) -> HistoryText:
    action = event_pb2.Action.Name(entry.action).removeprefix("ACTION_").lower() if entry.action else ""
    return HistoryText(entry.item.title, entry.item.category, action)


def _deadline() -> float:
    deadline = call.deadline.get()
    return NO_DEADLINE if deadline is None else deadline


async def _answered(answer: Awaitable[Answer]) -> Answer:
    """The core's answer, its exceptions in the words of the contract."""
    try:
        return await answer
    except OverloadedError as error:
        message = "too much is queued for the device; try again later"
        raise ServiceError(Reason.OVERLOADED, message, retry_after_s=error.retry_after_s) from None
    except DeadlinePassedError:
        raise ServiceError(Reason.DEADLINE_TOO_SHORT, "the deadline passed while the call was queued") from None
    except ClosedError:
        raise ServiceError(Reason.NOT_READY, "the ranker is going down", retry_after_s=1.0) from None


def _timings(timings: Timings) -> ranker_pb2.RankTimings:
    return ranker_pb2.RankTimings(
        queue=to_duration(timings.queue_s),
        tokenise=to_duration(timings.tokenise_s),
        compute=to_duration(timings.compute_s),
        computed_tokens=timings.computed_tokens,
        cached_candidates=timings.cached_items,
    )


def _described(model: LoadedModel) -> ranker_pb2.Model:
    manifest = model.manifest
    return ranker_pb2.Model(
        name=manifest.name,
        version=manifest.version,
        state=ranker_pb2.MODEL_STATE_ACTIVE,
        actions=manifest.actions,
        calibrated=manifest.calibrated,
        embedding_version=manifest.embedding_version,
        split_depth=manifest.layout.split_depth,
        loaded_at=to_timestamp(model.loaded_at),
    )
