"""The ranker over a tiny random model, in process."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import torch

from services.ranker.service import RankerService
from services.ranker.settings import RankerSettings
from shared.model.base import Base, load_base
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.server import Runtime, ServiceHost
from tests.conftest import StartService
from tests.shared.model.tiny_bert import write_tiny_bert

StartRanker = Callable[..., Awaitable[ServiceHost]]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny matrices do not pay a second thread, and on a busy machine it costs more than it brings."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("ranker") / "tiny")


@pytest.fixture(scope="session")
def tiny_base(tiny_folder: Path) -> Base:
    return load_base(str(tiny_folder))


@pytest.fixture(scope="session")
def tiny_packed(tiny_base: Base) -> PackedBert:
    return PackedBert(tiny_base.bert, Placement())


@pytest.fixture
def start_ranker(start_service: StartService, tiny_folder: Path) -> StartRanker:
    """`await start_ranker(**settings)`: a started ranker, in float32."""

    async def start(**changed: object) -> ServiceHost:
        free = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "metrics_listen": "", "grace_s": 1.0}
        fixed = {"model": str(tiny_folder), "device": "cpu", "dtype": "float32", "max_batch_tokens": 1024}
        settings = RankerSettings(**{**free, **fixed, **changed})
        runtime = Runtime(settings)
        return await start_service(RankerService(settings, runtime), runtime)

    return start
