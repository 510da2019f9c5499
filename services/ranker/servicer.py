"""The gRPC face of the ranker: validates, translates, calls the core, translates back."""

import errno
import logging
import math
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import numpy as np
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.types.v1 import event_pb2

from services.ranker.blending import blended
from services.ranker.models import Attempt, LineUp, Models, Served, UnknownModelError
from services.ranker.ranking import Item, Ranking, Timings
from services.ranker.switching import NoRegistryError, Switching
from services.ranker.work import NO_DEADLINE, ClosedError, DeadlinePassedError, DeviceLostError, OverloadedError
from shared import call
from shared.clock import Clock
from shared.errors import Reason, ServiceError
from shared.logs import FIELDS
from shared.model.blend import Act, Ask
from shared.model.folders import NAME_RULE, is_safe_name
from shared.model.manifest import Metric
from shared.model.ranking_model import Probabilities
from shared.model.registry import CALLED_RULE, RegistryError, is_called_name, label_of
from shared.model.text import HistoryText, ItemText
from shared.model.versions import VersionError
from shared.model.zero_shot import ZERO_SHOT
from shared.timestamps import to_duration, to_seconds, to_timestamp
from shared.validation import MAX_TIMESTAMP_S, MIN_TIMESTAMP_S, Checks

MAX_HISTORY, MAX_CANDIDATES, MAX_EMBEDDED, MAX_PAGE = 500, 1000, 256, 1000
DEFAULT_PAGE = 100
_STORE_AGAIN_S, _LOADED_AGAIN_S = 1.0, 5.0
_ACTIONS = {number: name.removeprefix("ACTION_").lower() for name, number in event_pb2.Action.items()}
_ACTIONS[event_pb2.ACTION_UNSPECIFIED] = ""
_NUMBER = re.compile(r"[0-9]{1,6}")

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Room:
    """What the servicer works with; the service fills it while it starts, before any call is taken."""

    models: Models
    clock: Clock
    ranking: Ranking | None = None
    switching: Switching | None = None


class RankerServicer(ranker_pb2_grpc.RankerServicer):
    """homepage.ranker.v1.Ranker."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def Rank(self, request: ranker_pb2.RankRequest, _context: Context) -> ranker_pb2.RankResponse:
        """Probability of each action of the model, for each candidate."""
        began = self._room.clock.monotonic()
        _check_rank(request)
        served = self._known(request.model, request.surface)
        model = served.model
        history, candidates = [_entry(entry) for entry in request.history], [_item(item) for item in request.candidates]
        ranked = await _answered(self._ranking().rank(model, history, candidates, _deadline()))
        fused = self._blended(served, request, ranked.probabilities)
        response = ranker_pb2.RankResponse(
            scores=[_score(row) for row in (ranked.probabilities if fused is None else fused).tolist()],
            actions=model.manifest.actions,
            model_version=model.manifest.version,
            calibrated=model.manifest.calibrated,
            blended=fused is not None,
            weighed=() if fused is None or served.blend is None else served.blend.fusion.names,
        )
        response.timings.CopyFrom(_timings(ranked.timings, self._room.clock.monotonic() - began))
        return response

    async def Embed(self, request: ranker_pb2.EmbedRequest, _context: Context) -> ranker_pb2.EmbedResponse:
        """Unit vectors of texts."""
        checks = Checks()
        checks.size("items", request.items, MAX_EMBEDDED, least=1)
        for row, item in enumerate(request.items[:MAX_EMBEDDED]):
            _check_item(checks, f"items[{row}]", item)
        checks.done()
        model = self._known(request.model, embeds=True).model
        vectors = await _answered(self._ranking().embed(model, [_item(item) for item in request.items], _deadline()))
        failed = ranker_pb2.Embedding(error_reason=Reason.INTERNAL.name)
        return ranker_pb2.EmbedResponse(
            embeddings=[
                failed if vector is None else ranker_pb2.Embedding(values=vector.tolist()) for vector in vectors
            ],
            embedding_version=model.manifest.embedding_version,
            dimensions=model.base.width,
        )

    async def ListModels(
        self, request: ranker_pb2.ListModelsRequest, _context: Context
    ) -> ranker_pb2.ListModelsResponse:
        """The models that answer, are being loaded or could not be."""
        checks = Checks()
        checks.number("page_size", request.page_size, 0, MAX_PAGE)
        checks.done()
        models, line_up = self._room.models, self._room.models.now
        answering = [self._described(line_up.models[name], line_up) for name in sorted(line_up.models)]
        every = [*answering, *map(_attempted, models.attempts())]
        start = _start(request.page_token, len(every))
        end = start + (request.page_size or DEFAULT_PAGE)
        return ranker_pb2.ListModelsResponse(
            models=every[start:end], next_page_token=str(end) if end < len(every) else ""
        )

    async def ActivateModel(
        self, request: ranker_pb2.ActivateModelRequest, _context: Context
    ) -> ranker_pb2.ActivateModelResponse:
        """Makes a version of the registry the one that answers."""
        checks = Checks()
        checks.text("surface", request.surface, 64)
        _check_called(checks, request.name)
        if not is_safe_name(request.version):
            checks.fail("version", f"must be {NAME_RULE}")
        if request.surface and label_of(request.name):
            checks.fail("surface", "must be empty for a model with a label: it answers only calls that name it")
        checks.done()
        switch = self._switching().activate(request.name, request.version, request.surface)
        served = await _answered(_switched(switch))
        return ranker_pb2.ActivateModelResponse(model=self._described(served, self._room.models.now))

    async def DeactivateModel(
        self, request: ranker_pb2.DeactivateModelRequest, _context: Context
    ) -> ranker_pb2.DeactivateModelResponse:
        """Takes a model out of what answers."""
        checks = Checks()
        _check_called(checks, request.name)
        if request.name == ZERO_SHOT:
            checks.fail("name", "must be a model of the registry; the built-in one always answers")
        checks.done()
        await _switched(self._switching().deactivate(request.name))
        return ranker_pb2.DeactivateModelResponse()

    def _switching(self) -> Switching:
        if self._room.switching is None:
            raise ServiceError(Reason.NOT_READY, "the ranker is starting", retry_after_s=1.0)
        return self._room.switching

    def _ranking(self) -> Ranking:
        if self._room.ranking is None:
            raise ServiceError(Reason.NOT_READY, "the ranker is starting", retry_after_s=1.0)
        return self._room.ranking

    def _blended(
        self, served: Served, request: ranker_pb2.RankRequest, probabilities: Probabilities
    ) -> Probabilities | None:
        if served.blend is None:
            return None
        now = to_seconds(request.now) if request.HasField("now") else self._room.clock.now()
        return blended(served.blend, _ask(request, probabilities, now), probabilities)

    def _known(self, name: str, surface: str = "", *, embeds: bool = False) -> Served:
        models = self._room.models
        try:
            return models.embedder(name) if embeds else models.get(name, surface)
        except UnknownModelError:
            if name in {attempt.name for attempt in models.attempts()}:
                message = "the model is not loaded yet, or could not be; ListModels tells why"
                raise ServiceError(Reason.NOT_READY, message, retry_after_s=_LOADED_AGAIN_S) from None
            known = ", ".join(sorted(models.now.models))
            raise ServiceError(Reason.NOT_FOUND, f"no model of this name is loaded; known: {known}") from None

    def _described(self, served: Served, line_up: LineUp) -> ranker_pb2.Model:
        manifest, surfaces = served.model.manifest, line_up.surfaces_of(served.name)
        embedder = self._room.models.embedder(served.name).model.manifest
        return ranker_pb2.Model(
            name=served.name,
            version=manifest.version,
            state=ranker_pb2.MODEL_STATE_ACTIVE if surfaces else ranker_pb2.MODEL_STATE_READY,
            actions=manifest.actions,
            calibrated=manifest.calibrated,
            embedding_version=embedder.embedding_version,
            split_depth=manifest.layout.split_depth,
            loaded_at=to_timestamp(served.loaded_at),
            metrics=[_metric(metric) for metric in manifest.metrics if not metric.slice and "/" not in metric.name],
            surfaces=surfaces,
        )


def _metric(metric: Metric) -> ranker_pb2.ModelMetric:
    name = f"{metric.split}/{metric.name}" if metric.split else metric.name
    return ranker_pb2.ModelMetric(name=name, value=metric.value)


def _check_called(checks: Checks, name: str) -> None:
    if not is_called_name(name):
        checks.fail("name", f"must be {CALLED_RULE}")


def _start(page_token: str, most: int) -> int:
    """Where a page begins: the token says how many came before."""
    start = int(page_token or "0") if _NUMBER.fullmatch(page_token or "0") else most + 1
    if start > most:
        raise ServiceError(Reason.INVALID_TOKEN, "page_token is not one of ours; begin with an empty one")
    return start


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
    _check_signals(checks, request)
    if request.HasField("now"):
        checks.timestamp("now", request.now)
    checks.done()


def _check_signals(checks: Checks, request: ranker_pb2.RankRequest) -> None:
    bounds = {"published_at_seconds": (MIN_TIMESTAMP_S, MAX_TIMESTAMP_S), "retrieval_scores": (0, 1)}
    for name, (least, most) in bounds.items():
        given = getattr(request.signals, name)
        if len(given) not in (0, len(request.candidates)):
            checks.fail(f"signals.{name}", "must be empty or have a number for each candidate")
            continue
        values = np.array(given[:MAX_CANDIDATES])
        for row in np.flatnonzero((values < least) | (values > most)):
            checks.number(f"signals.{name}[{row}]", values[row], least, most)


def _check_item(checks: Checks, path: str, item: ranker_pb2.ItemText) -> None:
    checks.text(f"{path}.item_id", item.item_id, 256, least=1)
    checks.text(f"{path}.revision", item.revision, 256)
    checks.text(f"{path}.title", item.title, 1000, least=1)
    checks.text(f"{path}.category", item.category, 256)
    checks.text(f"{path}.publisher", item.publisher, 256)


def _item(item: ranker_pb2.ItemText) -> Item:
    return Item(item.item_id, item.revision, ItemText(item.title, item.category, item.publisher))


def _entry(entry: ranker_pb2.HistoryText) -> HistoryText:
    return HistoryText(entry.item.title, entry.item.category, _ACTIONS[entry.action])


def _ask(request: ranker_pb2.RankRequest, probabilities: Probabilities, now: float) -> Ask:
    unknown = [math.nan] * len(request.candidates)
    return Ask(
        history=[Act(entry.item.item_id, _ACTIONS[entry.action], entry.item.category) for entry in request.history],
        candidates=[item.item_id for item in request.candidates],
        categories=[item.category for item in request.candidates],
        probabilities=probabilities[:, 0].astype(np.float64),
        published_at=np.array(request.signals.published_at_seconds[:] or unknown),
        retrieval=np.array(request.signals.retrieval_scores[:] or unknown),
        now=now,
    )


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
    except DeviceLostError:  # any other failed batch is a defect
        raise ServiceError(Reason.NOT_READY, "the device does not answer", retry_after_s=1.0) from None


async def _switched(change: Awaitable[Answer]) -> Answer:
    """What changed the line-up, its exceptions in the words of the contract."""
    try:
        return await change
    except NoRegistryError:
        message = "this ranker has no registry; set HOMEPAGE_RANKER_REGISTRY to a folder of model versions"
        raise ServiceError(Reason.PRECONDITION, message) from None
    except (VersionError, RegistryError) as error:  # both written for whoever operates the registry
        raise ServiceError(Reason.PRECONDITION, f"refused, nothing has changed: {error}") from None
    except OSError as error:
        why = errno.errorcode.get(error.errno or 0, "unknown")
        log.error("the registry cannot be written", extra={FIELDS: {"error": why}})
        message = f"the registry cannot be written ({why}); nothing has changed"
        raise ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_STORE_AGAIN_S) from None


def _score(probabilities: list[float]) -> ranker_pb2.CandidateScore:
    if not all(map(math.isfinite, probabilities)):
        return ranker_pb2.CandidateScore(error_reason=Reason.INTERNAL.name)
    return ranker_pb2.CandidateScore(probabilities=probabilities)


def _timings(timings: Timings, total_s: float) -> ranker_pb2.RankTimings:
    return ranker_pb2.RankTimings(
        queue=to_duration(timings.queue_s),
        tokenise=to_duration(timings.tokenise_s),
        compute=to_duration(timings.compute_s),
        computed_tokens=timings.computed_tokens,
        cached_candidates=timings.cached_items,
        other=to_duration(total_s - timings.queue_s - timings.tokenise_s - timings.compute_s),
        total=to_duration(total_s),
        batch_tokens=timings.batch_tokens,
    )


def _attempted(attempt: Attempt) -> ranker_pb2.Model:
    state = ranker_pb2.MODEL_STATE_FAILED if attempt.failure else ranker_pb2.MODEL_STATE_LOADING
    return ranker_pb2.Model(name=attempt.name, version=attempt.version, state=state, failure=attempt.failure)
