"""Whatever is activated, fails, or happens to the registry: some whole version answers, and it is the one agreed on."""

import asyncio
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker import switching
from services.ranker.models import Attempt
from services.ranker.switching import NoRegistryError
from shared.model import registry
from shared.model.registry import RegistryError
from shared.model.versions import VersionError
from tests.ranker.switching.bench import REFUSED, Bench, Store
from tests.ranker.switching.held_file import HeldFile


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


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux only")
async def test_loading_gives_way_to_everything_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nice: list[int] = []

    def look(folder: Path) -> registry.Serving | None:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return registry.read_serving(folder)

    monkeypatch.setattr(switching, "read_serving", look)
    await bench.begin()
    assert nice[0] > os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


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
