"""The ranker over a tiny random model, in process."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services.ranker.service import RankerService
from services.ranker.settings import RankerSettings
from shared.model.base import load_base
from shared.model.placement import Placement
from shared.model.zero_shot import ZeroShotModel
from shared.server import Runtime, ServiceHost
from tests.conftest import StartService
from tests.shared.model.tiny_bert import write_tiny_bert

StartRanker = Callable[..., Awaitable[ServiceHost]]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("ranker") / "tiny")


@pytest.fixture
def tiny_model(tiny_folder: Path) -> ZeroShotModel:
    return ZeroShotModel(load_base(str(tiny_folder)), Placement())


@pytest.fixture
def start_ranker(start_service: StartService, tiny_folder: Path) -> StartRanker:
    """`await start_ranker(**settings)`: a started ranker."""

    async def start(**changed: object) -> ServiceHost:
        free = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "metrics_listen": "", "grace_s": 1.0}
        settings = RankerSettings(**{**free, "model": str(tiny_folder), "device": "cpu", **changed})
        runtime = Runtime(settings)
        return await start_service(RankerService(settings, runtime), runtime)

    return start
