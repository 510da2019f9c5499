"""What the demo showed, as values and as one JSON file for programs."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from services.cli.changes import Change
from services.cli.loading import Loaded
from services.cli.showcase import Act


@dataclass(frozen=True, slots=True)
class Shown:
    """One page as it was served. Times in seconds, as the client saw them; `again_s` is the same request once more."""

    page: homepage_pb2.RecommendResponse
    limit_s: float
    elapsed_s: float
    again_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One person: a page, what he or she did with it, the page after that, and what changed."""

    name: str
    user_id: str
    visitor_id: str
    before: Shown
    acts: Sequence[Act]
    after: Shown
    changes: Sequence[Change]
    still_there: Sequence[str]
    """Ids of items acted upon that are on the page nevertheless; empty when all is well."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a step of the demo took, in seconds."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the demo showed."""

    data: str
    items: int
    users: int
    loaded: Loaded
    scenes: Sequence[Scene]
    steps: Sequence[StepTime]


def to_json(report: Report) -> str:
    """The report as JSON; pages in protobuf's JSON form, times in milliseconds but for the steps (seconds)."""
    loaded = report.loaded
    content = {
        "data": {"name": report.data, "items": report.items, "users": report.users},
        "loaded": {
            "items_stored": loaded.items_stored,
            "items_unchanged": loaded.items_unchanged,
            "events_recorded": loaded.events_recorded,
            "events_duplicate": loaded.events_duplicate,
            "events_left_out": loaded.events_left_out,
            "index_version": loaded.index_version,
            "embedding_version": loaded.embedding_version,
        },
        "steps_s": {step.name: round(step.seconds, 3) for step in report.steps},
        "scenes": [_scene(scene) for scene in report.scenes],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Writes the file so that it is there whole or not at all.

    Raises:
        OSError: when the folder is not there or cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _scene(scene: Scene) -> dict[str, object]:
    return {
        "name": scene.name,
        "user_id": scene.user_id,
        "visitor_id": scene.visitor_id,
        "before": _shown(scene.before),
        "feedback": [
            {"item_id": act.item.item_id, "title": act.item.display.title, "action": event_pb2.Action.Name(act.action)}
            for act in scene.acts
        ],
        "after": _shown(scene.after),
        "changes": [
            {"item_id": change.item_id, "kind": change.kind.value, "before": change.before, "after": change.after}
            for change in scene.changes
        ],
        "acted_upon_and_still_there": list(scene.still_there),
    }


def _shown(shown: Shown) -> dict[str, object]:
    return {
        "limit_ms": round(shown.limit_s * 1000),
        "elapsed_ms": round(shown.elapsed_s * 1000, 1),
        "again_ms": None if shown.again_s is None else round(shown.again_s * 1000, 1),
        "page": MessageToDict(shown.page),
    }
