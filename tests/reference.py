"""Writes REFERENCE.md: `python -m tests.reference`.

Every environment variable and every metric, out of the settings classes and the catalogue of metrics; a test fails
when the committed text is not what this prints. It stands with the tests because it reads all services at once,
which no service may do.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.orchestrator.settings import OrchestratorSettings
from services.profile.settings import ProfileSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from shared import metrics
from shared.metrics import CATALOGUE, MetricSpec
from shared.settings import ServiceSettings, allowed, variable

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "REFERENCE.md"
EVERY_SERVICE = "Every service"
SERVICES: dict[str, type[ServiceSettings]] = {
    "orchestrator": OrchestratorSettings,
    "profile": ProfileSettings,
    "retrieval": RetrievalSettings,
    "ranker": RankerSettings,
}
_SETTING_COLUMNS = ("variable", "default", "allowed", "meaning")
_METRIC_COLUMNS = ("metric", "type", "labels", "meaning")

_HEAD = """\
# Reference

Written by `python -m tests.reference` from the settings classes and the catalogue of metrics; do not edit. The tests
fail when it is not current.

## Settings

Environment variables only; all have a default. `python -m services.<name> --print-settings` prints those of a service
with the values in force, and a wrong value ends the start with one line that says what is allowed.
"""
_COMMON = """
### {every}

`<SERVICE>` is one of {names}. The table of a service repeats a variable
where its default or its meaning is another. `homepage data export` reads `HOMEPAGE_TRAINER_UPSTREAM_TLS_CA`,
`…_CERTIFICATE` and `…_KEY`, with the same meaning.
"""
_METRICS = """
## Metrics

As they stand on the page `/metrics` of each service. A counter's name ends in `_total`; a histogram `x` is three
series, `x_bucket` (label `le`), `x_sum` and `x_count`. Times are in seconds, in the buckets of gRPC proposal A66.
`grpc_client_…` appear where a service calls others. On Linux the page has prometheus-client's `process_…` too: CPU,
memory, open files, start.
"""


def reference() -> str:
    """The whole text."""
    names = ", ".join(f"`{name.upper()}`" for name in SERVICES)
    parts = [_HEAD, _COMMON.format(every=EVERY_SERVICE, names=names), _table(_SETTING_COLUMNS, _common_rows())]
    for name, kind in SERVICES.items():
        parts += [f"\n### {name}\n", _table(_SETTING_COLUMNS, _own_rows(kind))]
    parts.append(_METRICS)
    for name, specs in metrics_by_service().items():
        parts += [f"\n### {name}\n", _table(_METRIC_COLUMNS, map(_metric_row, specs))]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def is_common(kind: type[ServiceSettings], field: str) -> bool:
    """Whether a service's field is what ServiceSettings says of it."""
    common = ServiceSettings.model_fields.get(field)
    return common is not None and _facts(common) == _facts(kind.model_fields[field])


def metrics_by_service() -> dict[str, list[MetricSpec]]:
    """The catalogue by whose code names the metric: `shared`, which is part of every service, or one service.

    A metric that nobody's code names is in none of the lists.
    """
    constants = {value.name: name for name, value in vars(metrics).items() if isinstance(value, MetricSpec)}
    folders = {EVERY_SERVICE: ROOT / "shared"} | {name: ROOT / "services" / name for name in SERVICES}
    names = {
        name: {
            word
            for path in folder.rglob("*.py")
            if path != Path(metrics.__file__)
            for word in re.findall(r"\w+", path.read_text())
        }
        for name, folder in folders.items()
    }
    return {name: [spec for spec in CATALOGUE if constants[spec.name] in words] for name, words in names.items()}


def exposed_name(spec: MetricSpec) -> str:
    """The name on the page."""
    return f"{spec.name}_total" if spec.kind == "counter" else spec.name


def _common_rows() -> Iterator[tuple[str, ...]]:
    for field, info in ServiceSettings.model_fields.items():
        # Each service listens on ports of its own.
        default = "see below" if field.endswith("listen") else _facts(info)[0]
        yield (f"`HOMEPAGE_<SERVICE>_{field.upper()}`", default, *_facts(info)[1:])


def _own_rows(kind: type[ServiceSettings]) -> Iterator[tuple[str, ...]]:
    for field, info in kind.model_fields.items():
        if not is_common(kind, field):
            yield (f"`{variable(kind, field)}`", *_facts(info))


def _facts(info: FieldInfo) -> tuple[str, str, str]:
    """Default, what is allowed, meaning."""
    return _default(info.get_default(call_default_factory=True)), allowed(info), info.description or ""


def _default(value: object) -> str:
    match value:
        case SecretStr() | None | "":
            return "empty"
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:.16g}`"
    return f"`{value}`"


def _metric_row(spec: MetricSpec) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    return (f"`{exposed_name(spec)}`", spec.kind, labels, spec.help)


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    PATH.write_text(reference())
    print(f"wrote {PATH.name}")
