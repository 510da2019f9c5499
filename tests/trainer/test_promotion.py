"""A channel moves only through the gate, at once, and back."""

from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread

import pytest

from services.trainer.gate import NDCG, Evidence, Gate, VersionFigures
from services.trainer.promotion import Channel, Promotion, RefusedError, promote, rollback
from shared.model.object_store import ObjectStore
from shared.model.registry import RegistryError, Serving, activate, read_serving
from shared.model.version_files import HEADS, VersionError
from tests.trainer.promoted import add_version, figures


def promoted(registry: Path, version: str, channel: Channel = Channel.CHAMPION, *, force: bool = False) -> None:
    promote(registry, Promotion("news", version, channel, force), Gate())


def state(registry: Path) -> dict[str, bytes]:
    """Every file beside the models."""
    return {each.name: each.read_bytes() for each in registry.iterdir() if each.is_file() and each.name != ".lock"}


def test_a_better_version_takes_the_channel_and_keeps_the_surfaces(tmp_path: Path) -> None:
    add_version(tmp_path, "v1", figures(0.40))
    add_version(tmp_path, "v2", figures(0.45))
    add_version(tmp_path, "v3", figures(0.44))
    activate(tmp_path, "sport", "v1", "", stored=False)
    activate(tmp_path, "news", "v1", "home")
    promoted(tmp_path, "v2")
    promoted(tmp_path, "v3", Channel.CHALLENGER, force=True)
    wanted = {"sport": "v1", "news": "v2", "news@challenger": "v3"}
    assert read_serving(tmp_path) == Serving(wanted, {"": "sport", "home": "news"})


def test_the_first_champion_answers_for_every_surface(tmp_path: Path) -> None:
    add_version(tmp_path, "v1", figures(0.40))
    promoted(tmp_path, "v1")
    assert read_serving(tmp_path) == Serving({"news": "v1"}, {"": "news"})


@pytest.mark.parametrize("channel", list(Channel))
def test_a_refused_version_changes_nothing_and_the_refusal_names_the_line(tmp_path: Path, channel: Channel) -> None:
    add_version(tmp_path, "v1", figures(0.40))
    add_version(tmp_path, "v2", figures(0.38))
    promoted(tmp_path, "v1")
    before = state(tmp_path)
    with pytest.raises(RefusedError, match=f"refused: {NDCG} against champion") as refused:
        promoted(tmp_path, "v2", channel)
    assert [line.check for line in refused.value.verdict.failed] == [f"{NDCG} against champion"]
    assert state(tmp_path) == before


def test_force_moves_the_channel_and_still_says_what_failed(tmp_path: Path) -> None:
    add_version(tmp_path, "v1", figures(0.40))
    add_version(tmp_path, "v2", figures(0.38))
    promoted(tmp_path, "v1")
    verdict = promote(tmp_path, Promotion("news", "v2", force=True), Gate())
    assert not verdict.passed
    assert (read_serving(tmp_path) or Serving()).version_of("news") == "v2"


def test_a_challenger_is_judged_against_the_champion(tmp_path: Path) -> None:
    for version, ndcg in (("v1", 0.40), ("v2", 0.50), ("v3", 0.41)):
        add_version(tmp_path, version, figures(ndcg))
    promoted(tmp_path, "v1")
    promoted(tmp_path, "v2", Channel.CHALLENGER)
    promoted(tmp_path, "v3")  # worse than the challenger, which is nobody's business
    assert (read_serving(tmp_path) or Serving()).current == {"news": "v3", "news@challenger": "v2"}


def test_a_version_that_is_not_whole_is_not_promoted_even_by_force(tmp_path: Path) -> None:
    with pytest.raises(VersionError, match="there is no such version"):
        promoted(tmp_path, "v1", force=True)
    add_version(tmp_path, "v1", figures(0.40))
    (tmp_path / "news" / "v1" / HEADS).write_bytes(b"other")
    with pytest.raises(VersionError, match="checksum differs"):
        promoted(tmp_path, "v1", force=True)
    assert read_serving(tmp_path) is None


def test_a_champion_that_is_damaged_can_only_be_replaced_by_force(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        add_version(tmp_path, version, figures(0.40))
    promoted(tmp_path, "v1")
    (tmp_path / "news" / "v1" / "manifest.json").write_bytes(b"{")
    with pytest.raises(RefusedError, match="same data"):
        promoted(tmp_path, "v2")
    promoted(tmp_path, "v2", force=True)
    assert (read_serving(tmp_path) or Serving()).version_of("news") == "v2"


def test_figures_measured_afterwards_decide_if_they_are_of_these_two(tmp_path: Path) -> None:
    add_version(tmp_path, "v1", figures(0.40, data="last month"))
    add_version(tmp_path, "v2", figures(0.39, data="this month"))
    promoted(tmp_path, "v1")
    with pytest.raises(RefusedError, match="same data"):
        promoted(tmp_path, "v2")
    new, old = VersionFigures("news/v2", figures(0.39)), VersionFigures("news/v1", figures(0.36))
    for wrong in (Evidence(old, new), Evidence(new, None), Evidence(new, replace(old, version="news/v0"))):
        with pytest.raises(RegistryError, match="the evidence is of"):
            promote(tmp_path, Promotion("news", "v2"), Gate(), wrong)
    promote(tmp_path, Promotion("news", "v2"), Gate(), Evidence(new, old))
    assert (read_serving(tmp_path) or Serving()).version_of("news") == "v2"


def test_of_two_promotions_at_once_the_second_is_judged_against_the_first(tmp_path: Path) -> None:
    for version, ndcg in (("v1", 0.40), ("v2", 0.50), ("v3", 0.60)):
        add_version(tmp_path, version, figures(ndcg))
    promoted(tmp_path, "v1")
    together, refused = Barrier(2), []

    def move(version: str) -> None:
        together.wait(10)
        try:
            promoted(tmp_path, version)
        except RefusedError:
            refused.append(version)

    threads = [Thread(target=move, args=(version,)) for version in ("v2", "v3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (read_serving(tmp_path) or Serving()).version_of("news") == "v3"
    assert refused in ([], ["v2"])
    assert rollback(tmp_path, "news") == ("v1" if refused else "v2")


def test_rollback_twice_returns_over_both_promotions(tmp_path: Path) -> None:
    for version, ndcg in (("v1", 0.40), ("v2", 0.50), ("v3", 0.60)):
        add_version(tmp_path, version, figures(ndcg))
        promoted(tmp_path, version)
    assert rollback(tmp_path, "news") == "v2"
    assert rollback(tmp_path, "news") == "v1"
    with pytest.raises(RegistryError, match="no version of news that is still there served before"):
        rollback(tmp_path, "news")
    with pytest.raises(RegistryError, match="news@challenger does not serve"):
        rollback(tmp_path, "news", Channel.CHALLENGER)
    assert read_serving(tmp_path) == Serving({"news": "v1"}, {"": "news"})


def test_a_registry_on_an_object_store_is_promoted_likewise() -> None:
    storage = ObjectStore("memory://promotion/models")
    for version, ndcg in (("v1", 0.40), ("v2", 0.38), ("v3", 0.45)):
        add_version(storage, version, figures(ndcg))
    promote(storage, Promotion("news", "v1"), Gate())
    with pytest.raises(RefusedError):
        promote(storage, Promotion("news", "v2"), Gate())
    promote(storage, Promotion("news", "v3"), Gate())
    assert rollback(storage, "news") == "v1"


def test_names_that_cannot_be_any_are_refused_in_words(tmp_path: Path) -> None:
    for model, version in (("../news", "v1"), ("news", ".."), ("news@challenger", "v1"), ("", "")):
        with pytest.raises(VersionError, match="the names of model and version must be"):
            promote(tmp_path, Promotion(model, version), Gate())
    with pytest.raises(RegistryError, match="the registry folder does not exist"):
        promoted(tmp_path / "absent", "v1")
