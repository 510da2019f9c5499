"""REFERENCE.md is current, and leaves nothing out."""

import pytest
from pydantic import SecretStr

from services.trainer.settings import TrainerSettings
from shared.metrics import CATALOGUE
from shared.settings import ServiceSettings, variable
from tests.reference import PATH, ROOT, SERVICES, exposed_name, is_common, metrics_by_service, reference

TEXT = PATH.read_text()
REPORTED = metrics_by_service()
ROWS = {line.split("|")[1].strip(" `"): line for line in TEXT.splitlines() if line.startswith("| `")}


def test_the_committed_reference_is_current():
    assert reference() == TEXT, "run python -m tests.reference and commit REFERENCE.md"


def test_every_service_with_a_server_is_in_it():
    assert set(SERVICES) == {path.parent.name for path in ROOT.glob("services/*/servicer.py")}


@pytest.mark.parametrize("kind", SERVICES.values(), ids=SERVICES)
def test_every_variable_of_a_service_has_a_row_with_default_and_meaning(kind: type[ServiceSettings]):
    for field, info in kind.model_fields.items():
        row = ROWS[f"HOMEPAGE_<SERVICE>_{field.upper()}" if is_common(kind, field) else variable(kind, field)]
        _, _, default, allowed, meaning, _ = (cell.strip(" `") for cell in row.split("|"))
        value = info.get_default(call_default_factory=True)
        if value in (None, "", SecretStr("")):
            assert default == "empty"
        else:
            assert default == str(value).lower() or type(value)(default) == value
        assert allowed
        assert meaning == info.description


def test_what_a_service_does_otherwise_than_others_stands_in_its_own_table():
    assert not is_common(SERVICES["orchestrator"], "default_deadline_s")
    assert is_common(SERVICES["ranker"], "default_deadline_s")
    assert "`0.5`" in ROWS["HOMEPAGE_ORCHESTRATOR_DEFAULT_DEADLINE_S"]
    assert "`10`" in ROWS["HOMEPAGE_<SERVICE>_DEFAULT_DEADLINE_S"]


def test_the_trainers_variables_are_those_of_every_service():
    assert f"`{variable(TrainerSettings, 'upstream_tls_ca')}`" in TEXT
    assert set(TrainerSettings.model_fields) == set(ServiceSettings.model_fields)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_every_metric_has_a_row_and_one_place_that_reports_it(spec):
    assert sum(spec in specs for specs in REPORTED.values()) == 1
    row = ROWS[exposed_name(spec)]
    assert f"| {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.help} |" in row
