"""Scenarios are files that ghz itself can read; here they are found by name and understood."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.schedule import Schedule, schedule_of
from services.cli.loadtest.settings import LoadSettings

FOLDER = Path("tests/load")
"""Where scenarios and objectives lie in a working copy."""
_SHORT_FOR = "recommend-"
_WORKING_COPY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A configuration of ghz at `path`, and the schedule that follows from it."""

    path: Path
    settings: LoadSettings
    schedule: Schedule

    @property
    def name(self) -> str:
        """What the configuration calls itself, or its file."""
        return self.settings.name or self.path.stem


def load_folder() -> Path:
    """The folder of scenarios and objectives: of the present folder, else of the working copy this code is from."""
    return FOLDER if FOLDER.is_dir() else _WORKING_COPY / FOLDER


def scenario_names() -> tuple[str, ...]:
    """The scenarios that can be called by name."""
    return tuple(sorted(path.stem for path in (load_folder() / "scenarios").glob("*.json")))


def find_scenario(wanted: str) -> Scenario:
    """A scenario by its name ("steady" is short for "recommend-steady"), or the configuration at that path.

    Raises:
        LoadTestError: when there is none, or ghz would not follow a schedule with it.
    """
    names = scenario_names()
    for name in (wanted, _SHORT_FOR + wanted):
        if name in names:
            return read_scenario(load_folder() / "scenarios" / f"{name}.json")
    if Path(wanted).is_file():
        return read_scenario(Path(wanted))
    raise LoadTestError(f"no scenario {wanted}; there are {', '.join(names) or 'none'}, or name a file")


def read_scenario(path: Path) -> Scenario:
    """The scenario in a configuration of ghz (JSON).

    Raises:
        LoadTestError: when it cannot be read, or is no open loop.
    """
    try:
        settings = LoadSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LoadTestError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise LoadTestError(f"{path}: {told(error)}") from error
    return Scenario(path, settings, checked_schedule(settings))


def checked_schedule(settings: LoadSettings) -> Schedule:
    """The schedule of an open loop all of whose calls are told.

    Raises:
        LoadTestError: when calls wait for one another, or some are left out.
    """
    if not settings.open_loop:
        raise LoadTestError(f"{settings.title}: set async, or a slow server slows down the load that measures it")
    if settings.skip_first:
        raise LoadTestError(
            f"{settings.title}: leave out skipFirst. It drops calls in the order they end, and then nobody can tell "
            "which call was due when; homepage loadtest warms up by itself"
        )
    return schedule_of(settings)


def told(error: ValidationError) -> str:
    """What is wrong, in one line."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()[:3])
