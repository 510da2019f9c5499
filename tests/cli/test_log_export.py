"""From pages that were served to a model: the command exports the log of real services, and training reads it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from click.testing import Result
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.profile.service import ProfileService
from services.profile.settings import ProfileSettings
from services.retrieval.service import RetrievalService
from services.retrieval.settings import RetrievalSettings
from services.trainer.assembly import CorpusOptions
from services.trainer.sources import open_source
from shared.clock import ManualClock
from shared.model.versions import read_manifest
from shared.server import Runtime
from shared.timestamps import to_timestamp
from tests.cli.test_tune import RECIPE
from tests.conftest import OpenChannel, StartService
from tests.shared.model.tiny_bert import write_tiny_bert
from tests.shared.test_tls import Authority
from tests.stand_ins import NOW, item

USERS = 20
Start = Callable[..., Awaitable["Services"]]


@dataclass(frozen=True)
class Services:
    """Where they listen, and what a client needs to encrypt its calls."""

    profile: str
    retrieval: str
    credentials: grpc.ChannelCredentials | None


@pytest.fixture
def start(start_service: StartService, tmp_path: Path) -> Start:
    """`await start(**tls)`: a real profile and a real retrieval service."""

    async def started(authority: Authority | None = None) -> Services:
        common: dict[str, object] = {"admin_listen": "127.0.0.1:0", "metrics_listen": "", "grace_s": 1}
        credentials = None
        if authority is not None:
            pair = authority.issue("server")
            common |= {"tls_certificate": pair.certificate, "tls_key": pair.key}
            credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
        clock = ManualClock(NOW + 10_000)
        ours = ProfileSettings(listen="127.0.0.1:0", database=tmp_path / "profile.db", **common)
        runtime = Runtime(ours, clock)
        profile = await start_service(ProfileService(runtime, ours), runtime)
        theirs = RetrievalSettings(listen="127.0.0.1:0", database=tmp_path / "retrieval.db", **common)
        runtime = Runtime(theirs, clock)
        retrieval = await start_service(RetrievalService(runtime, theirs), runtime)
        return Services(profile.address, retrieval.address, credentials)

    return started


def visit(user: int) -> list[profile_pb2.UserEvent]:
    """A page of four items, of which the user clicks one and likes another; user 0 allows no training."""
    time, consent = NOW + user, event_pb2.Consent(train=user > 0)
    shown = [f"i{(user + place) % 6}" for place in range(4)]
    items = [
        event_pb2.ServedItem(item_id=each, position=place, propensity=1) for place, each in enumerate(shown, start=1)
    ]
    page = event_pb2.ServedPage(recommendation_id=f"r{user}", time=to_timestamp(time), items=items)
    acts = [
        event_pb2.Event(
            event_id=f"{user}-{action}",
            item_id=shown[place],
            action=action,
            time=to_timestamp(time + 0.25),
            recommendation_id=f"r{user}",
        )
        for place, action in enumerate((event_pb2.ACTION_CLICK, event_pb2.ACTION_LIKE))
    ]
    name = f"user-{user}"
    return [
        profile_pb2.UserEvent(user_id=name, consent=consent, served_page=page),
        *(profile_pb2.UserEvent(user_id=name, consent=consent, event=act) for act in acts),
    ]


async def serve_and_feed_back(services: Services, open_channel: OpenChannel) -> None:
    """What an orchestrator writes while people use the homepage."""
    retrieval = open_channel(services.retrieval, credentials=services.credentials)
    put = retrieval_pb2.PutItemsRequest(items=[item(number) for number in range(6)])
    await retrieval_pb2_grpc.RetrievalStub(retrieval).PutItems(iter([put]))
    profile = open_channel(services.profile, credentials=services.credentials)
    events = [entry for user in range(USERS) for entry in visit(user)]
    await profile_pb2_grpc.ProfileStub(profile).RecordEvents(profile_pb2.RecordEventsRequest(events=events))


async def export(out: Path, services: Services, **environment: Path) -> tuple[int | None, str]:
    """The command as a process of its own; its status, and all that it printed."""
    command = ("-m", "services.cli", "data", "export", out, "--profile", services.profile)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        "--retrieval",
        services.retrieval,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, printed.decode()


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(each) for each in arguments])


async def test_a_model_is_trained_from_what_was_served_and_done(
    start: Start, open_test_channel: OpenChannel, tmp_path: Path
) -> None:
    services = await start()
    await serve_and_feed_back(services, open_test_channel)
    status, printed = await export(tmp_path / "log", services)
    assert (status, "19 pages, 38 acts, 6 items" in printed) == (0, True), printed
    assert "user-" not in "".join(file.read_text() for file in (tmp_path / "log").iterdir())
    corpus = open_source(tmp_path / "log", CorpusOptions(least_positives=1))
    assert corpus.actions == ("click", "like")
    assert {name: len(examples) for name, examples in corpus.splits.items()} == {"train": 15, "valid": 2, "test": 2}
    (tmp_path / "recipe.toml").write_text(RECIPE)
    trained = run(
        *("train", "--data", tmp_path / "log", "--recipe", tmp_path / "recipe.toml", "--version", "v1"),
        *("--base", write_tiny_bert(tmp_path / "tiny"), "--out", tmp_path / "models"),
    )
    assert trained.exit_code == 0, trained.output
    origin = read_manifest(tmp_path / "models" / "default" / "v1").origin
    assert origin is not None
    assert origin.data == "event-log"
    status, printed = await export(tmp_path / "log", services)
    assert (status, "exists already" in printed) == (1, True)


async def test_services_with_tls_are_read_with_their_authority_and_not_without(
    start: Start, open_test_channel: OpenChannel, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "authority")
    services = await start(authority)
    await serve_and_feed_back(services, open_test_channel)
    status, printed = await export(tmp_path / "log", services, HOMEPAGE_TRAINER_UPSTREAM_TLS_CA=authority.file)
    assert (status, "19 pages" in printed) == (0, True), printed
    status, printed = await export(tmp_path / "plain", services)
    assert (status, "the profile service answers UNAVAILABLE; is it up" in printed) == (1, True), printed
    missing = tmp_path / "missing.pem"
    status, printed = await export(tmp_path / "plain", services, HOMEPAGE_TRAINER_UPSTREAM_TLS_CA=missing)
    assert (status, "HOMEPAGE_TRAINER_UPSTREAM_TLS_CA" in printed) == (1, True), printed
    assert "Traceback" not in printed
    assert not (tmp_path / "plain").exists()
