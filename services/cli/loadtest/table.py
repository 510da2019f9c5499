"""The figures of a run as people read them in a terminal."""

import re

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from services.cli.loadtest.figures import SATURATED_BELOW, Measured

FEW_FALLBACKS = 0.05
"""Pages count as whole while fallbacks are no more than this share of them."""
_FAR = 2.0
"""Overload is looked at where so many times the saturation rate is offered."""
_LATE_S = 0.01
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def show(measured: Measured, on: Console) -> None:
    """Prints the table, what it counts, and what follows from it."""
    on.print(f"\n[bold]{escape(measured.name)}[/]\n", highlight=False)
    on.print(Padding(_table(measured), (0, 0, 1, 2)))
    for line in (*_legend(measured), *_findings(measured)):
        on.print(f"  {line}", highlight=False)


def _table(measured: Measured) -> Table:
    by_time = not measured.rises and len(measured.steps) > 1
    with_fallbacks = any(step.fallbacks is not None for step in measured.steps)
    statuses = list(dict.fromkeys(status for step in measured.steps for status, _ in step.errors))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    headings = ["offered\n/s", "answered\n/s", "goodput\n/s", "p50\nms", "p95\nms", "p99\nms", "errors\n"]
    headings = [*(["from\ns"] if by_time else []), *headings, *(["fallbacks\n"] if with_fallbacks else [])]
    for heading in [*headings, *(_WORD.sub("\n", status) for status in statuses)]:
        table.add_column(escape(heading), justify="right")
    for step in measured.steps:
        table.add_row(
            *([f"{step.begins_s:g}"] if by_time else []),
            f"{step.rate:g}",
            f"{step.answered_per_s:.1f}",
            f"{step.goodput_per_s:.1f}",
            *(_ms(seconds) for seconds in (step.p50_s, step.p95_s, step.p99_s)),
            f"{step.error_share:.1%}",
            *([_share(step.fallbacks)] if with_fallbacks else []),
            *(str(dict(step.errors).get(status, "")) for status in statuses),
        )
    return table


def _legend(measured: Measured) -> list[str]:
    late = measured.late_s(99)
    lines = [
        f"[dim]goodput: answered OK within {measured.timeout_s * 1000:g} ms. Times are those of calls answered OK, "
        "from when they were due.[/]"
    ]
    if any(step.fallbacks is not None for step in measured.steps):
        lines.append("[dim]fallbacks: stages that a fallback stood in for, per page the orchestrator made.[/]")
    if late > _LATE_S:
        lines.append(f"[dim]ghz itself was up to {_ms(late)} ms late (p99), which is part of the times.[/]")
    return lines


def _findings(measured: Measured) -> list[str]:
    if not measured.rises:
        return []
    held, rule = measured.saturation, f"the highest rate with a goodput of at least {SATURATED_BELOW:.0%} of it"
    if held is None:
        return [f"[bold]Saturated[/] already at {measured.steps[0].rate:g}/s; begin lower."]
    if not measured.saturated:
        return [f"[bold]Not saturated[/] at {held.rate:g}/s, the last step; go on higher to see where it is."]
    lines = [f"[bold]Saturates at about {held.rate:g}/s[/], {rule}."]
    beyond = measured.beyond(_FAR)
    if beyond is None:
        lines.append(f"The steps end before {_FAR:g} times that; go on higher to see what overload does.")
    else:
        kept = beyond.goodput_per_s / held.goodput_per_s
        lines.append(
            f"Goodput at {beyond.rate / held.rate:g} times that ({beyond.rate:g}/s): "
            f"[bold]{beyond.goodput_per_s:.1f}/s[/], {kept:.0%} of what it was at saturation."
        )
    return lines + _whole(measured)


def _whole(measured: Measured) -> list[str]:
    told = [step for step in measured.steps if step.fallbacks is not None]
    whole = [step.rate for step in told if (step.fallbacks or 0.0) <= FEW_FALLBACKS]
    if not told:
        return []
    if not whole:
        return [f"At no rate pages are whole (fallbacks on at most {FEW_FALLBACKS:.0%} of them)."]
    return [f"Pages are whole up to {max(whole):g}/s (fallbacks on at most {FEW_FALLBACKS:.0%} of them)."]


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.1f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
