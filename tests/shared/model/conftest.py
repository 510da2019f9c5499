"""The bases that the tests of the model code share; loading is once per run."""

import pytest
import torch

from shared.model.base import PACKAGED_ID, Base, load_base
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.ranking_model import RankingModel
from shared.model.zero_shot import zero_shot_model
from tests.shared.model.tiny_bert import write_tiny_bert


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny matrices do not pay a second thread, and on a busy machine it costs more than it brings."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(str(write_tiny_bert(tmp_path_factory.mktemp("bert") / "tiny")))


@pytest.fixture(scope="session")
def packaged_base() -> Base:
    return load_base(PACKAGED_ID)


@pytest.fixture(scope="session")
def tiny_packed(tiny_base: Base) -> PackedBert:
    return PackedBert(tiny_base.bert, Placement())


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Base, tiny_packed: PackedBert) -> RankingModel:
    return zero_shot_model(tiny_base, tiny_packed)


@pytest.fixture(scope="session")
def packaged_model(packaged_base: Base) -> RankingModel:
    return zero_shot_model(packaged_base, PackedBert(packaged_base.bert, Placement()))
