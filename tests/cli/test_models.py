"""`homepage models` as a person or a script calls it: tables, sentences and exit codes, never a stack trace."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.models import app
from services.trainer.gate import NDCG, Evidence, Gate, VersionFigures
from shared.model.records import encoded
from shared.model.registry import Serving, activate, read_serving
from tests.trainer.promoted import ORIGIN, add_version, figures

Command = Callable[..., Result]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """v1 serves, v2 is better, v3 worse."""
    folder = tmp_path / "models"
    for version, ndcg in (("v1", 0.40), ("v2", 0.45), ("v3", 0.30)):
        add_version(folder, version, figures(ndcg), origin=ORIGIN)
    activate(folder, "news", "v1", "")
    return folder


@pytest.fixture
def models(registry: Path) -> Command:
    """`models("list")`: the command on that registry; nothing may come out of it but an exit code."""

    def run(*arguments: str, at: Path | str = registry) -> Result:
        environment = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1", "HOMEPAGE_RANKER_REGISTRY": str(at)}
        result = CliRunner().invoke(app, arguments, env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def lines(result: Result) -> list[str]:
    """What was printed, blanks squeezed."""
    return [re.sub(r" +", " ", line).strip() for line in result.stdout.splitlines()]


def serving(registry: Path) -> dict[str, str]:
    return dict((read_serving(registry) or Serving()).current)


def test_list_shows_every_version_with_its_channel_figures_size_and_date(models: Command, registry: Path) -> None:
    activate(registry, "news@challenger", "v2", None)
    add_version(registry, "v1", (), name="sport")
    result = models("list")
    assert result.exit_code == 0, result.output
    header, *rows = lines(result)
    assert header == "model version channel ndcg@10 (test) auc (test) size made"
    made = "2026-01-01 00:00 UTC"
    assert rows == [
        f"news v3 0.3000 [0.2990, 0.3010] 0.7000 [0.6990, 0.7010] 0.00 MiB {made}",
        f"news v2 challenger 0.4500 [0.4490, 0.4510] 0.7000 [0.6990, 0.7010] 0.00 MiB {made}",
        f"news v1 champion 0.4000 [0.3990, 0.4010] 0.7000 [0.6990, 0.7010] 0.00 MiB {made}",
        "sport v1 – – 0.00 MiB –",
    ]


def test_list_names_what_is_wrong_with_a_version_and_goes_on(models: Command, registry: Path) -> None:
    (registry / "news" / "v2" / "manifest.json").write_text("{")
    result = models("list")
    assert result.exit_code == 0
    assert "manifest.json is damaged" in result.stdout
    assert len(lines(result)) == 4


def test_an_empty_registry_says_what_to_do(models: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = models("list", at=tmp_path / "empty")
    assert (result.exit_code, lines(result)) == (0, ["No version is there yet; train one."])


@pytest.mark.parametrize(("reference", "version"), [("news", "v1"), ("news/v2", "v2"), ("news@challenger", "v3")])
def test_show_prints_all_of_the_manifest_as_json(models: Command, registry: Path, reference: str, version: str) -> None:
    activate(registry, "news@challenger", "v3", None)
    result = models("show", reference)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown == json.loads((registry / "news" / version / "manifest.json").read_text())["manifest"]
    assert shown["origin"]["settings"] == {"rank": "8"}


def test_compare_shows_both_the_difference_and_which_is_better(models: Command, registry: Path) -> None:
    result = models("compare", "news", "news/v2")
    assert result.exit_code == 0, result.output
    header, first, *others = lines(result)
    assert header == "metric split slice news/v1 news/v2 difference better"
    figures_of_both = "0.4000 [0.3990, 0.4010] 0.4500 [0.4490, 0.4510]"
    assert first == f"ndcg@10 test {figures_of_both} +0.0500 [+0.0486, +0.0514] news/v2"
    assert others[0].endswith("+0.0000 [-0.0014, +0.0014] not clear")
    assert "different data" not in result.stdout


def test_compare_warns_of_figures_of_different_data(models: Command, registry: Path) -> None:
    add_version(registry, "v4", figures(0.9, data="other"))
    result = models("compare", "news/v1", "news/v4")
    assert result.exit_code == 0
    assert lines(result)[1].endswith("–")
    assert "different data, or do not say of which; evaluate both on the same data" in result.stdout


def test_promote_prints_each_check_and_moves_the_channel(models: Command, registry: Path) -> None:
    result = models("promote", "news", "v2")
    assert result.exit_code == 0, result.output
    assert f"{NDCG} against champion passed" in "\n".join(lines(result))
    assert lines(result)[-1] == "news/v2 answers as news."
    assert serving(registry) == {"news": "v2"}


def test_promote_refuses_a_worse_version_with_status_1_and_names_the_line(models: Command, registry: Path) -> None:
    before = (registry / "serving.json").read_bytes()
    result = models("promote", "news", "v3", "--channel", "challenger")
    assert result.exit_code == 1
    assert f"{NDCG} against champion failed 0.3000" in "\n".join(lines(result))
    assert result.stderr.strip() == (
        f"Not promoted: {NDCG} against popularity, {NDCG} against champion. Nothing has changed."
    )
    assert (registry / "serving.json").read_bytes() == before


def test_promote_by_force_says_so(models: Command, registry: Path) -> None:
    result = models("promote", "news", "v3", "--channel", "challenger", "--force")
    assert result.exit_code == 0
    assert lines(result)[-1] == "news/v3 answers as news@challenger, by force."
    assert serving(registry) == {"news": "v1", "news@challenger": "v3"}


def test_limits_and_figures_can_come_from_files(models: Command, registry: Path, tmp_path: Path) -> None:
    gate, evidence = tmp_path / "gate.json", tmp_path / "evidence.json"
    gate.write_bytes(encoded(replace(Gate(), champion_margin=0.2, popularity_margin=0.1)))
    assert models("promote", "news", "v3", "--gate", str(gate)).exit_code == 0
    assert models("rollback", "news").exit_code == 0
    better, worse = VersionFigures("news/v3", figures(0.5)), VersionFigures("news/v1", figures(0.4))
    evidence.write_bytes(encoded(Evidence(better, worse)))
    assert models("promote", "news", "v3", "--evidence", str(evidence)).exit_code == 0
    assert serving(registry) == {"news": "v3"}


def test_rollback_returns_again_and_again_and_then_says_why_not(models: Command, registry: Path) -> None:
    for version in ("v2", "v3"):
        assert models("promote", "news", version, "--force").exit_code == 0
    told = [models("rollback", "news") for _ in range(3)]
    assert [result.exit_code for result in told] == [0, 0, 1]
    assert [lines(result) for result in told[:2]] == [
        ["news/v2 answers as news again."],
        ["news/v1 answers as news again."],
    ]
    assert told[2].stderr.startswith("No version of news that is still there served before; activate one")
    assert serving(registry) == {"news": "v1"}


def test_a_version_goes_to_an_object_store_and_a_ranker_follows_it(models: Command, tmp_path: Path) -> None:
    url, local = "memory://cli/models", tmp_path / "local"
    local.mkdir()
    assert lines(models("copy", "news/v2", "--to", url)) == ["news/v2 is copied."]
    assert models("promote", "news", "v2", at=url).exit_code == 0
    assert "news v2 champion" in lines(models("list", at=url))[1]
    result = models("pull", "--from", url, at=local)
    assert lines(result)[0].startswith("Copied news/v2; ")
    assert serving(local) == {"news": "v2"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "music"), "Nothing answers under the name 'music'; name a version, like news/v2."),
        (("show", "news/v9"), "Model version news/v9: there is no such version"),
        (("show", "../news/v1"), "the names of model and version must be"),
        (("show", ""), "Nothing answers under the name ''"),
        (("compare", "news", "news/"), "the names of model and version must be"),
        (("promote", "news", "v9"), "Model version news/v9: there is no such version"),
        (("promote", "news", "v9", "--force"), "Model version news/v9: there is no such version"),
        (("promote", "news@a", "v1"), "the names of model and version must be"),
        (("promote", "news", "v2", "--gate", "absent.json"), "The file absent.json cannot be read; correct its path."),
        (("rollback", "news"), "No version of news that is still there served before"),
        (("rollback", "music"), "The model music does not serve"),
        (("rollback", "[/]"), "The name of a model must be"),
        (
            ("list", "--registry", "absent"),
            "The registry folder does not exist; make it, mount it, or correct its path.",
        ),
        (("list", "--registry", "nowhere://models"), "The nowhere:// address cannot be opened; correct it."),
        (("pull", "--from", "absent"), "The registry folder does not exist"),
        (("copy", "news/v1", "--to", "nowhere://models"), "The nowhere:// address cannot be opened"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_1(
    models: Command, registry: Path, arguments: tuple[str, ...], words: str
) -> None:
    before = (registry / "serving.json").read_bytes()
    result = models(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (registry / "serving.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "{}", '{"split": "test"}'])
def test_a_file_that_is_no_gate_is_refused(models: Command, tmp_path: Path, content: str) -> None:
    (tmp_path / "gate.json").write_text(content)
    result = models("promote", "news", "v2", "--gate", str(tmp_path / "gate.json"))
    assert result.exit_code == 1
    assert "gate.json is no gate, " in result.stderr


def test_a_registry_that_may_not_be_written_is_a_sentence(models: Command, registry: Path) -> None:
    (registry / ".tmp-serving.json").mkdir()
    result = models("promote", "news", "v2")
    assert result.exit_code == 1
    assert result.stderr.startswith("The registry cannot be read or written: Is a directory; ")
    assert serving(registry) == {"news": "v1"}


@pytest.mark.parametrize("command", [(), *[(name,) for name in ("list", "show", "compare", "promote", "rollback")]])
def test_every_command_has_help(models: Command, command: tuple[str, ...]) -> None:
    result = models(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
