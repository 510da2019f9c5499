"""What the README says is so."""

import re
from pathlib import Path

import pytest

from services.orchestrator.settings import OrchestratorSettings
from services.profile.settings import ProfileSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from shared.errors import Reason
from shared.rich_status import STATUS_CODES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh-CN.md").read_text()
SETTINGS = (OrchestratorSettings, ProfileSettings, RetrievalSettings, RankerSettings)


@pytest.mark.parametrize("reason", Reason)
def test_the_error_table_names_every_reason_with_its_status(reason):
    assert f"| `{reason.name}` | `{STATUS_CODES[reason].name}` |" in README


def test_the_error_table_names_nothing_else():
    assert len(re.findall(r"^\| `[A-Z_]+` \| `[A-Z_]+` \|", README, re.MULTILINE)) == len(Reason)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_table_of_services_names_the_default_ports(kind):
    name = kind.__name__.removesuffix("Settings").lower()
    fields = ("listen", "admin_listen", "metrics_listen")
    ports = ", ".join(kind.model_fields[field].default.rpartition(":")[2] for field in fields)
    assert f"| {name} | `.[{name}]` | {ports} |" in README


def test_every_rpc_of_the_contracts_stands_in_the_table_of_rpcs():
    for path in (ROOT / "protos").rglob("*.proto"):
        text = path.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE).group(1)
        for service in re.findall(r"^service (\w+)", text, re.MULTILINE):
            row = next(line for line in README.splitlines() if line.startswith(f"| `{package}.{service}` |"))
            for rpc in re.findall(r"^  rpc (\w+)\(", text, re.MULTILINE):
                assert re.search(rf"\b{rpc}\b", row), f"{rpc} is missing in the row of {service}"


def test_ci_runs_the_command_between_the_markers():
    [command] = re.findall(r"<!-- test command -->\n```sh\n(.*)\n```\n<!-- end -->", README)
    assert command.endswith(".venv/bin/pytest")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def blocks_of_code(text):
    fenced = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    return fenced + re.findall(
        r"(?:^    \S.*\n)+", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )


def figures(text):
    """Of every row of a table: what is left without words, codes and remarks in brackets of full width."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [re.findall(r"\d[\d,.]*", re.sub(r"`[^`]*`|（[^）]*）|\([^)]*\)", "", row)) for row in rows]


def test_the_chinese_readme_shows_the_same_code():
    assert blocks_of_code(CHINESE) == blocks_of_code(README)


def test_the_chinese_readme_has_the_same_sections():
    assert re.findall(r"^#+ ", CHINESE, re.MULTILINE) == re.findall(r"^#+ ", README, re.MULTILINE)


def test_the_chinese_readme_has_the_same_tables_with_the_same_figures():
    assert figures(CHINESE) == figures(README)


def test_both_readmes_name_each_other():
    assert "(README.zh-CN.md)" in README
    assert "(README.md)" in CHINESE


@pytest.mark.parametrize("text", [README, CHINESE], ids=["english", "chinese"])
def test_every_file_that_a_readme_points_to_exists(text):
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).is_file(), target
