"""The settings of ghz that matter here, whichever way they come: from a configuration that a person wrote (durations
as "10s"), or as ghz repeats them in its report (durations in nanoseconds).
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_PARTS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: Any) -> Any:
    """Seconds from a duration of Go: text such as "1m30s", or a number of nanoseconds."""
    if isinstance(value, str):
        parts = _PARTS.findall(value)
        if "".join(number + unit for number, unit in parts) != value or not parts:
            if value == "0":
                return 0.0
            raise ValueError(f"{value!r} is no duration; write it like 500ms or 1m30s")
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    return value / 1e9 if isinstance(value, int | float) else value


Seconds = Annotated[float, BeforeValidator(seconds)]


class LoadSettings(BaseModel):
    """Who is called, and how. Rates in calls a second, durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    call: str
    host: str
    open_loop: bool = Field(default=False, alias="async")
    rps: float = 0
    load_schedule: str = Field(default="const", alias="load-schedule")
    load_start: float = Field(default=0, alias="load-start")
    load_step: float = Field(default=0, alias="load-step")
    load_end: float = Field(default=0, alias="load-end")
    load_step_duration: Seconds = Field(default=0.0, alias="load-step-duration")
    load_max_duration: Seconds = Field(default=0.0, alias="load-max-duration")
    duration: Seconds = 0.0
    timeout: Seconds = 20.0
    skip_first: int = Field(default=0, alias="skipFirst")
    data: Any = None
    data_file: str = Field(default="", alias="data-file")

    @property
    def title(self) -> str:
        """How messages name the scenario."""
        return self.name or self.call

    @property
    def method(self) -> str:
        """The method called, as "package.Service.Method"."""
        return self.call.strip("/").replace("/", ".")

    @property
    def brings_data(self) -> bool:
        """Whether the settings name the requests themselves."""
        return self.data is not None or bool(self.data_file)
