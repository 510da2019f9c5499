"""Whatever is activated, fails, or happens to the registry: some whole version answers, and it is the one agreed on."""

import asyncio
import json
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker import switching
from services.ranker.models import Attempt
from services.ranker.switching import RETRY_S, NoRegistryError
from shared.model import registry
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.registry import RegistryError
from shared.model.versions import VersionError
from tests.ranker.batcher_bench import SOON
from tests.ranker.held_file import HeldFile
from tests.ranker.switching_bench import REFUSED, Bench, Store, make_store
from tests.shared.model.made_version import make_version


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base, tiny_packed: PackedBert) -> Store:
    return make_store(tmp_path_factory.mktemp("switching") / "store", tiny_base, tiny_packed)


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    """Not begun."""
    bench = Bench(store, store.registry(tmp_path))
    yield bench
    await bench.end()


async def test_it_starts_with_what_the_registry_says(bench: Bench) -> None:
    registry.activate(bench.serving_file.parent, "news", "v1", "")
    registry.activate(bench.serving_file.parent, "sport", "v1", "sport page")
    await bench.begin()
    assert bench.answering() == bench.answering("another page") == ("news", "v1")
    assert bench.answering("sport page") == ("sport", "v1")
    assert bench.agrees()


async def test_without_a_registry_the_built_in_model_answers_and_nothing_can_be_activated(store: Store) -> None:
    bench = Bench(store, None)
    await bench.begin()
    assert bench.answering("any page") == ("zero-shot", bench.zero_shot)
    with pytest.raises(NoRegistryError):
        await bench.activate("news", "v1")
    await bench.end()


async def test_models_answer_side_by_side_each_as_itself(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    await bench.activate("sport", "v1", "sport page")  # the same version name, history and items
    for _ in range(2):  # the second time all is cached
        for name in ("news", "sport", "zero-shot", ""):
            await bench.check_answers(name)


async def test_a_surface_whose_default_cannot_answer_gets_the_general_default(bench: Bench) -> None:
    serving = {"current": {"news": "v1", "lost": "v1"}, "defaults": {"": "news", "page": "lost", "other": "never-made"}}
    bench.serving_file.write_text(json.dumps(serving))
    await bench.begin()
    assert bench.answering("page") == bench.answering("other") == ("news", "v1")
    bench.serving_file.write_text(json.dumps({"current": {"lost": "v1"}, "defaults": {"": "lost"}}))
    await bench.until_answering("zero-shot", bench.zero_shot)


async def test_what_is_activated_answers_and_is_written_down(bench: Bench) -> None:
    await bench.begin()
    for version in ("v1", "v2", "v2", "v1"):  # forward, once more the same, and back
        served = await bench.activate("news", version)
        assert (served.name, served.version) == bench.answering() == ("news", version)
        assert bench.serving() == {"current": {"news": version}, "defaults": {"": "news"}}
        await bench.check_answers()
    assert (bench.told("v1", "serving"), bench.told("v2", "serving")) == (1, 0)
    assert bench.models.attempts() == []


async def test_the_built_in_model_can_be_made_the_default_again(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    with pytest.raises(VersionError, match=bench.zero_shot):  # the name to activate is told
        await bench.activate("zero-shot", "v1")
    assert bench.answering() == ("news", "v1")
    await bench.activate("zero-shot", bench.zero_shot)
    assert bench.answering() == ("zero-shot", bench.zero_shot)
    assert bench.models.get("news").version == "v1"
    assert bench.agrees()
    later = Bench(bench.store, bench.registry)
    await later.begin()
    assert later.agrees()
    await later.end()


async def test_what_another_base_calls_its_built_in_model_is_no_failure(bench: Bench) -> None:
    bench.serving_file.write_text(
        json.dumps({"current": {"zero-shot": "of-another-base"}, "defaults": {"": "zero-shot"}})
    )
    await bench.begin()
    assert bench.answering() == ("zero-shot", bench.zero_shot)
    assert bench.models.attempts() == []


@pytest.mark.parametrize(("version", "why"), REFUSED.items())
async def test_what_cannot_answer_is_refused_with_its_reason_and_nothing_changes(
    bench: Bench, version: str, why: str
) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    before, line_up = bench.serving(), bench.models.now
    with pytest.raises(VersionError, match=why):
        await bench.activate("news", version)
    assert bench.serving() == before
    assert bench.models.now is line_up
    (attempt,) = bench.models.attempts()
    assert (attempt.name, attempt.version) == ("news", version)
    assert why in attempt.failure
    assert (bench.told("v1", "serving"), bench.told(version, "failed")) == (1, 1)
    await bench.activate("news", "v2")
    assert bench.models.attempts() == []
    assert (bench.told("v1", "serving"), bench.told(version, "failed")) == (0, 0)


async def test_a_failure_of_a_model_that_nobody_serves_is_told_until_the_next_change(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    with pytest.raises(VersionError):
        await bench.activate("sport", "misspelt")
    with HeldFile(bench.serving_file) as held:
        await held.is_read()
    with HeldFile(bench.serving_file) as held:
        await held.is_read()
        assert [attempt.name for attempt in bench.models.attempts()] == ["sport"]
    await bench.activate("news", "v2")
    assert bench.models.attempts() == []


async def test_names_that_nobody_has_heard_of_are_refused_and_not_noted(bench: Bench) -> None:
    await bench.begin()
    for number in range(3):
        with pytest.raises(VersionError, match="there is no such version"):
            await bench.activate(f"guessed-{number}", "v1")
    assert bench.models.attempts() == []
    bench.serving_file.write_text(json.dumps({"current": {"lost": "v1"}, "defaults": {}}))
    await bench.watched.until(lambda: [attempt.name for attempt in bench.models.attempts()] == ["lost"])
    with pytest.raises(VersionError):
        await bench.activate("lost", "v2")
    assert [attempt.version for attempt in bench.models.attempts()] == ["v2"]


async def test_a_version_that_is_removed_while_it_is_tried_does_not_become_the_one(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    bench.scorer.hold()
    swap = asyncio.create_task(bench.activate("news", "v2"))
    await bench.scorer.computed()  # its first answer: it is loaded
    shutil.rmtree(bench.serving_file.parent / "news" / "v2")
    bench.scorer.let_go()
    with pytest.raises(RegistryError, match="news/v2: it has gone meanwhile"):
        await swap
    assert bench.answering() == ("news", "v1")
    assert bench.agrees()


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


async def test_a_device_that_dies_refuses_the_version_and_not_the_ones_to_come(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    bench.scorer.dead = True
    with pytest.raises(VersionError, match="cannot be loaded on this machine"):
        await bench.activate("news", "v2")
    bench.scorer.dead = False
    assert bench.answering() == ("news", "v1")
    await bench.activate("news", "v2")
    await bench.check_answers()


async def test_a_registry_that_cannot_be_written_swaps_nothing(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    in_the_way = bench.serving_file.with_name(".tmp-serving.json")
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        await bench.activate("news", "v2")
    assert bench.answering() == ("news", "v1")
    assert bench.models.attempts() == []
    in_the_way.rmdir()
    await bench.activate("news", "v2")
    assert bench.agrees()


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


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
async def test_loading_gives_way_to_everything_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nice: list[int] = []

    def look(folder: Path) -> registry.Serving | None:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return registry.read_serving(folder)

    monkeypatch.setattr(switching, "read_serving", look)
    await bench.begin()
    assert nice[0] > os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


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


async def test_a_swap_goes_on_when_its_caller_leaves(bench: Bench) -> None:
    await bench.begin()
    with HeldFile(bench.serving_file.parent / "news" / "v1" / "manifest.json") as held:
        caller = asyncio.create_task(bench.activate("news", "v1"))
        await held.is_read()
        assert bench.models.attempts() == [Attempt("news", "v1")]
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
    await bench.until_answering("news", "v1")
    assert bench.agrees()


async def test_versions_are_brought_up_one_after_another(bench: Bench) -> None:
    await bench.begin()
    with HeldFile(bench.serving_file.parent / "news" / "v1" / "manifest.json") as held:
        first = asyncio.create_task(bench.activate("news", "v1"))
        await held.is_read()
        second = asyncio.create_task(bench.activate("news", "v2"))
        for _ in range(20):
            await asyncio.sleep(0)  # as far as it can get
        assert bench.models.attempts() == [Attempt("news", "v1")]
    assert [(await each).version for each in (first, second)] == ["v1", "v2"]
    assert bench.agrees()


async def test_a_ranker_that_ends_while_it_loads_leaves_nothing_behind(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    tasks = asyncio.all_tasks()
    with HeldFile(bench.serving_file.parent / "news" / "v2" / "manifest.json") as held:
        caller = asyncio.create_task(bench.activate("news", "v2"))
        await held.is_read()
        await asyncio.wait_for(bench.switching.end(), 5)
        await asyncio.wait([caller])
        assert asyncio.all_tasks() <= tasks
    assert bench.serving()["current"] == {"news": "v1"}
    for thread in threading.enumerate():
        if thread.name.startswith("ranker-load"):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()


async def test_a_call_in_flight_keeps_the_model_it_began_with(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    bench.scorer.hold()
    call = asyncio.create_task(bench.rank())
    await bench.scorer.computed()
    await bench.activate("zero-shot", bench.zero_shot)  # computes nothing, so it need not wait
    assert not call.done()
    bench.scorer.let_go()
    np.testing.assert_allclose((await call).probabilities, bench.store.expected["news", "v1"], atol=1e-5)
    await bench.check_answers()


async def test_peft_is_imported_at_the_start_where_there_is_a_registry(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "peft")
    without = Bench(store, None)
    await without.begin()
    await without.end()
    assert "peft" not in sys.modules
    await bench.begin()
    assert "peft" in sys.modules


ACTIVATIONS = st.tuples(
    st.sampled_from([("news", "v1"), ("news", "v2"), ("news", "half"), ("sport", "v1"), ("zero-shot", "")]),
    st.sampled_from(["", "page"]),
)


@settings(max_examples=8, deadline=None)
@given(rounds=st.lists(st.lists(st.tuples(st.booleans(), ACTIVATIONS), min_size=1, max_size=3), min_size=1, max_size=3))
async def test_whatever_is_activated_at_once_on_two_rankers_both_end_as_the_registry_says(
    store: Store, rounds: list[list[tuple[bool, tuple[tuple[str, str], str]]]]
) -> None:
    with TemporaryDirectory() as folder:
        shared = store.registry(Path(folder))
        benches = [Bench(store, shared), Bench(store, shared)]
        for bench in benches:
            await bench.begin()
        for at_once in rounds:
            ends = await asyncio.gather(
                *(
                    benches[first].activate(name, version or benches[first].zero_shot, surface)
                    for first, ((name, version), surface) in at_once
                ),
                return_exceptions=True,
            )
            for end, (_, ((_, version), _)) in zip(ends, at_once, strict=True):
                assert isinstance(end, VersionError) == (version == "half"), end
        for bench in benches:
            if bench.serving_file.exists():
                await bench.watched.until(bench.agrees)
            await bench.check_answers()
            await bench.end()
