"""What served before can be gone back to, whatever was killed, removed or damaged meanwhile; pruning leaves it."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.registry import (
    OTHER_SURFACES,
    RegistryError,
    Serving,
    activate,
    deactivate,
    prune,
    read_serving,
    rollback,
    versions_of,
)
from tests.shared.model.hollow_registry import add_versions, killed


def test_a_rollback_killed_at_any_line_loses_none_of_the_versions_before(tmp_path: Path) -> None:
    registries = [tmp_path / str(number) for number in range(1, 250)]
    for registry in (tmp_path / "imports", *registries):
        add_versions(registry, "v1", "v2", "v3")
        for version in ("v1", "v2", "v3"):
            activate(registry, "news", version, OTHER_SURFACES)
    killed("roll_back", tmp_path)
    left = [(read_serving(registry) or Serving()).version_of("news") for registry in registries]
    assert left.index("v2") > 10
    for registry, version in zip(registries, left, strict=True):
        further = {"v3": ["v2", "v1"], "v2": ["v1"]}[str(version)]
        assert [rollback(registry, "news") for _ in further] == further
        with pytest.raises(RegistryError, match="no version of news"):
            rollback(registry, "news")


@pytest.mark.parametrize(
    ("keep", "current", "left"),
    [
        (0, "v2", ("v2",)),
        (1, "v2", ("v2", "v4")),
        (2, "v4", ("v3", "v4")),
        (9, "v1", ("v1", "v2", "v3", "v4")),
    ],
)
def test_pruning_leaves_the_newest_and_the_current_one(
    tmp_path: Path, keep: int, current: str, left: tuple[str, ...]
) -> None:
    every = ("v1", "v2", "v3", "v4")
    add_versions(tmp_path, *every)
    add_versions(tmp_path, "v1", name="sport")
    activate(tmp_path, "news", current, OTHER_SURFACES)
    assert prune(tmp_path, "news", keep) == tuple(version for version in every if version not in left)
    assert versions_of(tmp_path, "news") == left
    assert {each.name for each in (tmp_path / "news").iterdir()} == set(left)
    assert versions_of(tmp_path, "sport") == ("v1",)


def test_pruning_leaves_what_serves_under_a_label(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "v2", "v3")
    activate(tmp_path, "news", "v3", OTHER_SURFACES)
    activate(tmp_path, "news@challenger", "v1", OTHER_SURFACES)
    assert prune(tmp_path, "news", keep=0) == ("v2",)


def test_pruning_leaves_what_a_rollback_would_return_to(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "v2", "v3", "v4")
    for version in ("v1", "v2", "v4"):
        activate(tmp_path, "news", version, OTHER_SURFACES)
    assert prune(tmp_path, "news", keep=0) == ("v1", "v3")
    assert rollback(tmp_path, "news") == "v2"


# Back to what served before


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["v1", "v2", "v3", "back"]), max_size=12))
def test_each_rollback_undoes_the_last_activation_that_is_not_undone(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder)
        add_versions(registry, "v1", "v2", "v3")
        served: list[str] = []
        for step in steps:
            if step != "back":
                activate(registry, "news", step, OTHER_SURFACES)
                served += [] if served[-1:] == [step] else [step]
            elif len(served) > 1:
                served.pop()
                assert rollback(registry, "news") == served[-1]
            else:
                with pytest.raises(RegistryError):
                    rollback(registry, "news")
            assert (read_serving(registry) or Serving()).version_of("news") == (served[-1] if served else None)


def test_a_rollback_leaves_surfaces_and_other_names_alone(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "v2", "v3")
    activate(tmp_path, "news", "v1", "home")
    activate(tmp_path, "news@challenger", "v1", OTHER_SURFACES)
    activate(tmp_path, "news", "v2", "mail")
    activate(tmp_path, "news@challenger", "v3", OTHER_SURFACES)
    assert rollback(tmp_path, "news") == "v1"
    defaults = {"home": "news", "mail": "news"}
    assert read_serving(tmp_path) == Serving({"news": "v1", "news@challenger": "v3"}, defaults)
    assert rollback(tmp_path, "news@challenger") == "v1"


def test_a_rollback_passes_over_versions_that_are_gone(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "v2", "v3")
    for version in ("v3", "v1", "v2", "v3"):
        activate(tmp_path, "news", version, OTHER_SURFACES)
    for version in ("v1", "v2"):
        shutil.rmtree(tmp_path / "news" / version)
    before = (tmp_path / "serving.json").read_bytes()
    with pytest.raises(RegistryError, match="no version of news that is still there"):
        rollback(tmp_path, "news")  # v3 is still there, but it is the one that serves
    assert (tmp_path / "serving.json").read_bytes() == before


def test_what_was_taken_out_of_service_is_remembered_once_it_serves_again(tmp_path: Path) -> None:
    add_versions(tmp_path, "v1", "v2")
    activate(tmp_path, "news", "v1", OTHER_SURFACES)
    deactivate(tmp_path, "news")
    with pytest.raises(RegistryError, match="does not serve"):
        rollback(tmp_path, "news")
    activate(tmp_path, "news", "v2", OTHER_SURFACES)
    assert rollback(tmp_path, "news") == "v1"


def test_of_many_versions_the_last_are_remembered(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(40)]
    add_versions(tmp_path, *names)
    for version in names:
        activate(tmp_path, "news", version, OTHER_SURFACES)
    assert [rollback(tmp_path, "news") for _ in range(32)] == names[-2:-34:-1]
    with pytest.raises(RegistryError):
        rollback(tmp_path, "news")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"before": {"news": "v1"}}', b'{"before": {"news": ["../v1"]}}'])
def test_a_damaged_history_is_refused_and_nothing_changes(tmp_path: Path, content: bytes) -> None:
    add_versions(tmp_path, "v1", "v2")
    activate(tmp_path, "news", "v1", OTHER_SURFACES)
    (tmp_path / "history.json").write_bytes(content)
    before = (tmp_path / "serving.json").read_bytes()
    for attempt in (
        partial(activate, name="news", version="v2", surface=""),
        partial(rollback, name="news"),
        partial(prune, name="news", keep=0),
    ):
        with pytest.raises(RegistryError, match=r"history\.json is damaged|must be"):
            attempt(tmp_path)
    assert (tmp_path / "history.json").read_bytes() == content
    assert (tmp_path / "serving.json").read_bytes() == before
