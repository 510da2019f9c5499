"""The bases that the tests of the model code share; loading is once per run."""

import pytest

from shared.model.base import PACKAGED_ID, Base, load_base
from shared.model.placement import Placement
from shared.model.zero_shot import ZeroShotModel
from tests.shared.model.tiny_bert import write_tiny_bert


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(str(write_tiny_bert(tmp_path_factory.mktemp("bert") / "tiny")))


@pytest.fixture(scope="session")
def packaged_base() -> Base:
    return load_base(PACKAGED_ID)


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Base) -> ZeroShotModel:
    return ZeroShotModel(tiny_base, Placement())


@pytest.fixture(scope="session")
def packaged_model(packaged_base: Base) -> ZeroShotModel:
    return ZeroShotModel(packaged_base, Placement())
