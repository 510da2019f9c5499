"""ghz and the scenarios understand one another: real runs against a real set; skipped where there is no ghz."""

import asyncio
import io
import json
import shutil
from pathlib import Path

import grpc
import pytest
from homepage.profile.v1 import profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2_grpc
from rich.console import Console

from services.cli.loadtest.command import Files, LoadTestOptions, run
from services.cli.loadtest.fallbacks import FallbackWatch, read_counters
from services.cli.loadtest.figures import measure
from services.cli.loadtest.ghz import read_run
from services.cli.loadtest.scenarios import find_scenario, scenario_names
from tests.conftest import RegisteredService
from tests.orchestrator.conftest import start_homepage  # noqa: F401  # the fixture
from tests.stand_ins import NOW, ProfileStandIn, RankerStandIn, RetrievalStandIn

GHZ = shutil.which("ghz") or shutil.which("ghz", path=str(Path.home() / "go" / "bin"))
needs_ghz = pytest.mark.skipif(GHZ is None, reason="ghz is not on the PATH")
NAMES = ("homepage.profile.v1.Profile", "homepage.retrieval.v1.Retrieval", "homepage.ranker.v1.Ranker")


@pytest.fixture
async def addresses(start_homepage, start_service):  # noqa: F811
    """Where the service of each name can be called: an orchestrator between stand-ins, and stand-ins by themselves."""
    homepage = await start_homepage(metrics_listen="127.0.0.1:0")
    behind = await start_service(
        RegisteredService(
            NAMES,
            (profile_pb2_grpc.add_ProfileServicer_to_server, ProfileStandIn()),
            (retrieval_pb2_grpc.add_RetrievalServicer_to_server, RetrievalStandIn()),
            (ranker_pb2_grpc.add_RankerServicer_to_server, RankerStandIn()),
        )
    )
    metrics = f"127.0.0.1:{homepage.host.metrics_port}"
    return {"Homepage": homepage.host.address, "metrics": metrics} | dict.fromkeys(
        ("Profile", "Retrieval", "Ranker"), behind.address
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of the items that the stand-ins know, and of three users."""
    folder = tmp_path / "data"
    folder.mkdir()
    items = [{"item_id": f"i{number}", "title": f"Title {number}"} for number in range(250)]
    pasts = [
        {
            "impression_id": user,
            "user_id": user,
            "time": NOW,
            "history": [{"item_id": f"i{n}", "action": "click", "time": NOW - 60 * (60 - n)} for n in range(60)],
            "candidates": [{"item_id": "i100", "label": 0}],
        }
        for user in ("ann", "bob", "eve")
    ]
    for name, lines in (("items", items), ("impressions.train", pasts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def shortened(name: str, folder: Path) -> Path:
    """The scenario, over within a second, and patient with a busy machine."""
    told = json.loads(find_scenario(name).path.read_text())
    told |= {"duration": "600ms", "timeout": "10s"}
    if "load-step-duration" in told:
        told["load-step-duration"] = "300ms"
        told["load-start"] = min(told["load-start"], 40)
        told["load-step"] = 10 if told["load-step"] > 0 else -10
        told["load-end"] = told["load-start"] + told["load-step"]
    path = folder / f"{name}.json"
    path.write_text(json.dumps(told))
    return path


@needs_ghz
@pytest.mark.parametrize("name", scenario_names())
async def test_ghz_runs_every_scenario_with_its_requests_and_every_call_is_answered(addresses, data, name, tmp_path):
    scenario = shortened(name, tmp_path)
    service = find_scenario(name).settings.method.split(".")[-2]
    out, png = tmp_path / "report.json", tmp_path / "drawn.png"
    slo = tmp_path / "slo.toml"
    slo.write_text(f"[[{name}]]\nerror_share = 0\ngoodput_per_s = 1\n")
    options = LoadTestOptions(
        str(scenario), addresses[service], addresses["metrics"], data=data, warm_up_s=0.2, ghz=GHZ, slo=slo
    )
    told = Console(file=io.StringIO(), width=116)
    status = await asyncio.to_thread(run, options, Files(out=out, png=png), told, told)
    assert status == 0, told.file.getvalue()
    measured = measure(read_run(out))
    assert all(step.errors == () for step in measured.steps)
    assert sum(step.calls for step in measured.steps) > 0
    assert png.exists()
    assert ("fallbacks" in told.file.getvalue()) == (service == "Homepage")


@needs_ghz
async def test_what_ghz_cannot_do_is_told_in_its_words(addresses, tmp_path):
    scenario = json.loads(find_scenario("smoke").path.read_text())
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**scenario, "call": "homepage.v1.Homepage.Nothing", "data": {}}))
    told = Console(file=io.StringIO(), width=116)
    options = LoadTestOptions(str(path), addresses["Homepage"], ghz=GHZ, warm_up_s=0)
    assert await asyncio.to_thread(run, options, Files(), told, told) == 1
    assert "Nothing" in told.file.getvalue()


async def test_fallbacks_and_pages_are_read_from_the_orchestrators_metrics(start_homepage):  # noqa: F811
    homepage = await start_homepage(metrics_listen="127.0.0.1:0")
    address = f"127.0.0.1:{homepage.host.metrics_port}"
    await homepage.recommend()
    watch = FallbackWatch(address)
    await asyncio.to_thread(watch.__enter__)
    homepage.ranker.failing.status = grpc.StatusCode.UNAVAILABLE
    await homepage.recommend()
    await homepage.recommend()
    await asyncio.to_thread(watch.__exit__, None, None, None)
    seen = watch.seen()
    assert seen.pages.tolist()[0] == 1
    assert seen.pages.tolist()[-1] == 3
    assert seen.per_page(seen.at[0], seen.at[-1]) == 1


async def test_metrics_that_cannot_be_read_are_an_error():
    with pytest.raises(OSError, match=r"."):
        await asyncio.to_thread(read_counters, "127.0.0.1:1")
    with pytest.raises(ValueError, match="port"):
        await asyncio.to_thread(read_counters, "127.0.0.1:no")
