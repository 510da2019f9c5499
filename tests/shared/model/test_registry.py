"""The registry says which version serves, through kills, races and damage."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model import storage
from shared.model.registry import (
    OTHER_SURFACES,
    RegistryError,
    Serving,
    activate,
    deactivate,
    label_of,
    model_of,
    prune,
    read_serving,
    rollback,
    versions_of,
)
from shared.model.storage import LocalStorage
from tests.shared.model.hollow_registry import activate_unstored, add_versions, killed

NAMES = st.sampled_from(["news", "sport", "music"])
SURFACES = st.sampled_from([OTHER_SURFACES, "home", "mail"])


def test_an_empty_registry_serves_nothing(tmp_path: Path) -> None:
    assert read_serving(tmp_path) is None
    assert versions_of(tmp_path, "news") == ()
    assert Serving().version_of("news") is None
    assert Serving().default_for("home") is None


def test_a_registry_that_does_not_exist_is_refused_and_never_made(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    for attempt in (
        read_serving,
        lambda folder: activate_unstored(folder, "news", "v1", ""),
        partial(prune, name="news", keep=1),
    ):
        with pytest.raises(RegistryError, match="the registry folder does not exist; make it"):
            attempt(absent)
    assert not absent.exists()


def test_only_a_version_that_is_there_or_needs_no_files_is_activated(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "empty")
    (tmp_path / "news" / "empty" / "manifest.json").unlink()
    before = activate(tmp_path, "news", "v1", "home")
    for version in ("empty", "v2"):
        with pytest.raises(RegistryError, match=f"news/{version}: it has gone meanwhile"):
            activate(tmp_path, "news", version, "home")
    assert read_serving(tmp_path) == before
    assert activate(tmp_path, "built-in", "v9", "home", stored=False).default_for("home") == "built-in"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(NAMES, st.sampled_from(["v1", "v2"]), SURFACES), max_size=8))
def test_the_last_activation_of_a_model_and_of_a_surface_counts(made: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for activation in made:
            serving = activate_unstored(Path(folder), *activation)
            assert read_serving(Path(folder)) == serving
        serving = read_serving(Path(folder)) or Serving()
    versions = {name: version for name, version, _ in made}
    defaults = {surface: name for name, _, surface in made}
    for name in ("news", "sport", "music"):
        assert serving.version_of(name) == versions.get(name)
    for surface in ("home", "mail", "unheard of"):
        assert serving.default_for(surface) == defaults.get(surface, defaults.get(OTHER_SURFACES))


def test_a_surface_with_its_own_default_keeps_it_when_the_others_change(tmp_path: Path) -> None:
    activate_unstored(tmp_path, "sport", "v1", "stadium")
    serving = activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)
    assert (serving.default_for("stadium"), serving.default_for("home")) == ("sport", "news")


def test_a_label_lets_versions_of_one_model_answer_side_by_side_and_takes_no_surface(tmp_path: Path) -> None:
    activate_unstored(tmp_path, "news", "v1", "home")
    serving = activate_unstored(tmp_path, "news@challenger", "v2", OTHER_SURFACES)
    assert serving == Serving({"news": "v1", "news@challenger": "v2"}, {"home": "news"})
    assert read_serving(tmp_path) == serving
    assert (model_of("news@challenger"), label_of("news@challenger")) == ("news", "challenger")
    assert (model_of("news"), label_of("news")) == ("news", "")
    with pytest.raises(RegistryError, match="a model with a label cannot be the default of a surface"):
        activate_unstored(tmp_path, "news@challenger", "v2", "home")


def test_a_lost_file_is_written_anew_from_what_served(tmp_path: Path) -> None:
    served = activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)
    (tmp_path / "serving.json").unlink()
    assert deactivate(tmp_path, "misspelt", lost=served) == read_serving(tmp_path) == served
    (tmp_path / "serving.json").unlink()
    after = activate(tmp_path, "sport", "v1", "stadium", stored=False, lost=served)
    assert after == Serving({"news": "v1", "sport": "v1"}, {OTHER_SURFACES: "news", "stadium": "sport"})


def test_what_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    deactivate(tmp_path, "news")
    assert not (tmp_path / "serving.json").exists()
    activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)
    before = (tmp_path / "serving.json").stat().st_ino
    deactivate(tmp_path, "misspelt")
    activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)
    assert (tmp_path / "serving.json").stat().st_ino == before  # a file that is replaced is another one


def test_a_writer_that_stands_still_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_LOCK_S", 0.05)
    with LocalStorage(tmp_path).only_writer(), pytest.raises(TimeoutError):
        activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)
    activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)


def test_a_name_in_the_file_that_cannot_be_one_is_blamed_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_text('{"current": {"my model": "1"}, "defaults": {}}')
    with pytest.raises(RegistryError, match=r"serving\.json is damaged, the name of a model must"):
        activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)


def test_what_is_deactivated_leaves_its_surfaces_and_only_them(tmp_path: Path) -> None:
    activate_unstored(tmp_path, "news", "v1", OTHER_SURFACES)
    activate_unstored(tmp_path, "news@challenger", "v2", OTHER_SURFACES)
    activate_unstored(tmp_path, "sport", "v1", "stadium")
    for _ in range(2):  # the second time there is nothing to do
        left = deactivate(tmp_path, "sport")
        assert left == Serving({"news": "v1", "news@challenger": "v2"}, {OTHER_SURFACES: "news"})
    assert deactivate(tmp_path, "news") == Serving({"news@challenger": "v2"}, {})
    deactivate(tmp_path, "news@challenger")
    assert read_serving(tmp_path) == Serving()  # it says so, which is more than saying nothing


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b'{"current": {"news": "v1"}}',
        b'{"current": {"news": 1}, "defaults": {}}',
        b'{"current": {"news": "../v1"}, "defaults": {}}',
        b'{"current": {}, "defaults": {"": ".hidden"}}',
        b'{"current": {}, "defaults": {}, "more": {}}',
        b'{"current": {}, "defaults": {"' + b"s" * 65 + b'": "news"}}',
    ],
)
def test_a_damaged_file_is_refused_and_never_overwritten(tmp_path: Path, content: bytes) -> None:
    add_versions(tmp_path, "v1", "v2")
    (tmp_path / "serving.json").write_bytes(content)
    with pytest.raises(RegistryError):
        read_serving(tmp_path)
    with pytest.raises(RegistryError):
        activate(tmp_path, "news", "v2", "home")
    with pytest.raises(RegistryError):
        prune(tmp_path, "news", keep=0)
    assert (tmp_path / "serving.json").read_bytes() == content
    assert versions_of(tmp_path, "news") == ("v1", "v2")


@pytest.mark.parametrize(
    ("name", "version", "surface"),
    [
        ("a/b", "v1", ""),
        ("news", "..", ""),
        ("", "v1", ""),
        ("news", "v1", "s" * 65),
        ("news@", "v1", ""),
        ("@challenger", "v1", ""),
        ("a@b@c", "v1", ""),
        ("news", "v1@challenger", ""),
    ],
)
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: str, version: str, surface: str) -> None:
    with pytest.raises(RegistryError, match="must"):
        activate_unstored(tmp_path, name, version, surface)


@pytest.mark.parametrize("name", ["a/b", "", "news@"])
def test_what_cannot_be_a_name_cannot_be_deactivated(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="must"):
        deactivate(tmp_path, name)


def test_two_processes_that_activate_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from shared.model.registry import activate\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for name in (f'{sys.argv[2]}{number}' for number in range(50)):\n"
        "    activate(Path(sys.argv[1]), name, 'v1', name, stored=False)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "a"], **pipes) as one, subprocess.Popen([*command, "b"], **pipes) as other:
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(60) for process in (one, other)] == [0, 0]
    wanted = {f"{process}{number}" for process in "ab" for number in range(50)}
    serving = read_serving(tmp_path)
    assert set(serving.current) == wanted
    assert set(serving.defaults) == wanted


def test_an_activation_killed_at_any_line_leaves_the_old_or_the_new_and_the_next_one_works(tmp_path: Path) -> None:
    add_versions(tmp_path / "imports", "v2")
    registries = [tmp_path / str(number) for number in range(1, 250)]
    for registry in registries:
        add_versions(registry, "v1", "v2", "v3")
        activate(registry, "news", "v1", OTHER_SURFACES)
    killed("activate", tmp_path)
    said = [read_serving(registry) for registry in registries]
    left = [serving.version_of("news") if serving else None for serving in said]
    first_new = left.index("v2")
    assert set(left[:first_new]) == {"v1"}
    assert first_new > 10
    for registry, version in zip(
        registries, left, strict=True
    ):  # and each knows what served before, or that nothing did
        if version == "v2":
            assert rollback(registry, "news") == "v1"
        else:
            with pytest.raises(RegistryError, match="no version of news"):
                rollback(registry, "news")
    assert activate(registries[first_new - 1], "news", "v3", "home").version_of("news") == "v3"
    assert rollback(registries[first_new - 1], "news") == "v1"


def test_versions_are_listed_oldest_first_and_what_is_unfinished_is_not(tmp_path: Path) -> None:
    add_versions(tmp_path, "v9", "v10", ".tmp-v11-abc", "with space")
    (tmp_path / "news" / "notes.txt").touch()
    (tmp_path / ".tmp-serving.json").touch()
    assert versions_of(tmp_path, "news") == ("v9", "v10")
    assert versions_of(tmp_path, "../" + tmp_path.name) == ()


def test_without_a_surface_defaults_stay_and_only_the_first_model_becomes_one(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "v2")
    add_versions(tmp_path, "v1", name="sport")
    assert activate(tmp_path, "news@challenger", "v1", None).defaults == {}
    assert activate(tmp_path, "news", "v1", None).defaults == {OTHER_SURFACES: "news"}
    assert activate(tmp_path, "sport", "v1", None).defaults == {OTHER_SURFACES: "news"}
    assert activate(tmp_path, "sport", "v1", "stadium").defaults == {OTHER_SURFACES: "news", "stadium": "sport"}
    assert activate(tmp_path, "news", "v2", None).defaults == {OTHER_SURFACES: "news", "stadium": "sport"}
