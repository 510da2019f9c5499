"""The registry is followed, whatever it says, lacks or loses: what answers is what it last said and can be had."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from services.ranker import switching
from services.ranker.switching import RETRY_S
from shared.model import registry
from shared.model.registry import RegistryError
from tests.ranker.batcher_bench import SOON
from tests.ranker.switching.bench import Bench, Store
from tests.ranker.switching.held_file import HeldFile
from tests.shared.model.made_version import make_version


async def test_it_starts_with_what_the_registry_says(bench: Bench) -> None:
    registry.activate(bench.serving_file.parent, "news", "v1", "")
    registry.activate(bench.serving_file.parent, "sport", "v1", "sport page")
    await bench.begin()
    assert bench.answering() == bench.answering("another page") == ("news", "v1")
    assert bench.answering("sport page") == ("sport", "v1")
    assert bench.agrees()


async def test_a_surface_whose_default_cannot_answer_gets_the_general_default(bench: Bench) -> None:
    serving = {"current": {"news": "v1", "lost": "v1"}, "defaults": {"": "news", "page": "lost", "other": "never-made"}}
    bench.serving_file.write_text(json.dumps(serving))
    await bench.begin()
    assert bench.answering("page") == bench.answering("other") == ("news", "v1")
    bench.serving_file.write_text(json.dumps({"current": {"lost": "v1"}, "defaults": {"": "lost"}}))
    await bench.until_answering("zero-shot", bench.zero_shot)


async def test_what_another_base_calls_its_built_in_model_is_no_failure(bench: Bench) -> None:
    bench.serving_file.write_text(
        json.dumps({"current": {"zero-shot": "of-another-base"}, "defaults": {"": "zero-shot"}})
    )
    await bench.begin()
    assert bench.answering() == ("zero-shot", bench.zero_shot)
    assert bench.models.attempts() == []


async def test_a_registry_that_is_not_there_yet_is_told_once_watched_and_never_made(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(store, tmp_path / "registry")
    await bench.begin()
    for name, version in (("news", "v1"), ("zero-shot", bench.zero_shot)):
        with pytest.raises(RegistryError, match="the registry folder does not exist; make it"):
            await bench.activate(name, version)
    assert bench.models.attempts() == []
    assert not (tmp_path / "registry").exists()
    store.registry(tmp_path / "beside")
    registry.activate(tmp_path / "beside" / "registry", "news", "v1", "")
    (tmp_path / "beside" / "registry").rename(tmp_path / "registry")
    await bench.until_answering("news", "v1")
    assert [record.levelname for record in caplog.records if "registry cannot be read" in record.message] == ["ERROR"]
    await bench.end()


async def test_each_model_answers_as_soon_as_it_is_ready_and_until_then_what_answered_before(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    serving = {"current": {"news": "v2", "sport": "v1", "zero-shot": ""}, "defaults": {"": "sport", "page": "news"}}
    serving["current"]["zero-shot"] = bench.zero_shot
    with HeldFile(bench.serving_file.parent / "sport" / "v1" / "manifest.json") as held:
        bench.serving_file.write_text(json.dumps(serving))
        await held.is_read()
        assert bench.answering() == bench.answering("page") == ("news", "v2")
        await bench.check_answers()
    await bench.until_answering("sport", "v1")
    assert bench.answering("page") == ("news", "v2")


async def test_a_version_that_comes_late_is_tried_again_and_does_not_hold_up_the_start(bench: Bench) -> None:
    bench.serving_file.write_text(json.dumps({"current": {"news": "late"}, "defaults": {"": "news"}}))
    await bench.begin()
    assert bench.answering() == ("zero-shot", bench.zero_shot)
    (failed,) = bench.models.attempts()
    assert (failed.version, bench.told("late", "failed")) == ("late", 1)
    make_version(bench.serving_file.parent, bench.store.base, version="late")
    with HeldFile(bench.serving_file) as held:
        await held.is_read()
    with HeldFile(bench.serving_file) as held:
        await held.is_read()
        assert bench.models.attempts() == [failed]  # a look at the registry later
        bench.clock.advance(RETRY_S)
    await bench.until_answering("news", "late")
    assert bench.models.attempts() == []
    assert bench.told("late", "failed") == 0


async def test_a_version_that_fails_on_the_way_leaves_the_one_before_it(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    registry.activate(bench.serving_file.parent, "news", "half", "")
    await bench.watched.until(lambda: bench.told("half", "failed") == 1)
    assert bench.answering() == ("news", "v1")
    registry.activate(bench.serving_file.parent, "news", "v1", "")
    await bench.watched.until(lambda: bench.told("half", "failed") == 0)
    assert bench.agrees()


@pytest.mark.parametrize("content", [b"{", b'{"current": {"news": "../v2"}, "defaults": {}}', b'{"current": {}}'])
async def test_while_the_registry_says_nothing_of_use_all_stays_as_it_is(
    bench: Bench, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    line_up = bench.models.now
    for _ in range(2):
        with HeldFile(bench.serving_file, content) as held:
            await held.is_read()
    repaired = b'{"current": {"news": "v2"}, "defaults": {"": "news"}}'
    with HeldFile(bench.serving_file, repaired) as held:
        await held.is_read()
        assert bench.models.now is line_up
        await bench.check_answers()
    await bench.until_answering("news", "v2")
    told = [record for record in caplog.records if "cannot be read" in record.message]
    assert len(told) == 1  # once, however often it was looked at


async def test_a_change_after_the_file_was_lost_takes_nothing_else_away(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    bench.serving_file.unlink()
    await bench.activate("sport", "v1", "sport page")
    assert (bench.answering(), bench.answering("sport page")) == (("news", "v1"), ("sport", "v1"))
    bench.serving_file.unlink()
    await asyncio.wait_for(bench.switching.deactivate("misspelt"), SOON)
    assert (bench.answering(), bench.answering("sport page")) == (("news", "v1"), ("sport", "v1"))
    assert bench.agrees()


async def test_it_is_told_what_left_and_which_default_is_nobody(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await bench.begin()
    await bench.activate("sport", "v1", "sport page")
    await asyncio.wait_for(bench.switching.deactivate("sport"), SOON)
    assert [record.message for record in caplog.records][-1] == "model taken out"
    bench.serving_file.write_text('{"current": {"news": "v1"}, "defaults": {"": "news", "home": "nwes"}}')
    await bench.until_answering("news", "v1")
    assert "a default of the registry is not one of its models" in {record.message for record in caplog.records}


async def test_when_the_file_is_lost_all_stays_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    line_up, looks = bench.models.now, threading.Semaphore(0)

    def look(folder: Path) -> registry.Serving | None:
        looks.release()
        return registry.read_serving(folder)

    bench.serving_file.unlink()
    monkeypatch.setattr(switching, "read_serving", look)
    for _ in range(3):
        assert await asyncio.to_thread(looks.acquire, timeout=SOON)
    assert bench.models.now is line_up


async def test_a_damaged_registry_takes_no_activation(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    bench.serving_file.write_bytes(b"{")
    with pytest.raises(RegistryError, match="damaged"):
        await bench.activate("news", "v2")
    assert bench.serving_file.read_bytes() == b"{"
    assert bench.answering() == ("news", "v1")
