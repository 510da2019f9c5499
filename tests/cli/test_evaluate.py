"""`homepage evaluate`: tables, files, and the loop from two trained versions through evidence to the gate."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.trainer.assembly import CorpusOptions
from services.trainer.baselines import fit_popularity
from services.trainer.corpora import open_corpus
from services.trainer.corpus import Example
from services.trainer.evaluation import evaluate as measure
from services.trainer.gate import LATENCY_MS, Evidence, Gate
from services.trainer.limited import limited
from services.trainer.reports import Report
from services.trainer.shipped_fusion import counted_to_the_test
from services.trainer.training import Target, train
from shared.model.base import load_base
from shared.model.blend import MODEL, POPULARITY, Blend
from shared.model.records import decoded, encoded, parsed
from shared.model.registry import activate
from shared.model.versions import write_version
from shared.model.zero_shot import zero_shot_heads, zero_shot_manifest
from tests.shared.model.made_blend import made_crowd, made_fusion
from tests.shared.model.tiny_bert import write_tiny_bert
from tests.trainer.small_corpus import RECIPE, small_example, small_items

Command = Callable[..., Result]
GATE = Gate(most_calibration_error=1.0)
"""Of 64 slates the calibration says nothing."""


@dataclass(frozen=True)
class World:
    """A data set, its base, and a registry: news/weak learnt nothing, news/good and news/other differ in their seed."""

    data: Path
    base: Path
    registry: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world")
    made = World(folder / "data", write_tiny_bert(folder / "tiny"), folder / "models")
    write_data(made.data)
    corpus, base = open_corpus(made.data, CorpusOptions()), load_base(str(made.base))
    recipes = {
        "weak": replace(RECIPE, learning_rate=1e-9, heads_learning_rate=1e-9, most_steps=1),
        "good": RECIPE,
        "other": replace(RECIPE, seed=1),
    }
    for version, recipe in recipes.items():
        train(corpus, base, recipe, Target(made.registry, "news", version, folder / "work"))
    activate(made.registry, "news", "weak", "")
    return made


def write_data(folder: Path) -> None:
    """Two topics; users click what is of theirs."""
    folder.mkdir()
    rows = [{"item_id": each.item_id, "title": each.title, "category": each.category} for each in small_items()]
    write_rows(folder / "items.jsonl", rows)
    random = np.random.default_rng(1)
    examples = [small_example(number, random) for number in range(160)]
    for split, some in (("train", examples[:64]), ("valid", examples[64:96]), ("test", examples[96:])):
        write_rows(folder / f"impressions.{split}.jsonl", map(as_row, some))


def as_row(example: Example) -> dict[str, Any]:
    oldest_first = enumerate(reversed(example.history), start=-len(example.history))
    time = 1000.0 * (1 + float(example.impression_id))
    return {
        "impression_id": example.impression_id,
        "user_id": example.user,
        "time": time,
        "history": [{"item_id": f"i{past.item}", "action": "click", "time": time + row} for row, past in oldest_first],
        "candidates": [
            {"item_id": f"i{item}", "label": int(label)}
            for item, label in zip(example.candidates.tolist(), example.labels[:, 0], strict=True)
        ],
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(*arguments: object) -> Result:
    result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def evaluate(world: World) -> Command:
    """`evaluate("--model", "news/good")`, on the CPU."""
    given = ("--data", world.data, "--base", world.base, "--registry", world.registry, "--device", "cpu")
    return lambda *arguments: run("evaluate", *given, *arguments)


def rows_of(result: Result) -> dict[str, list[str]]:
    """Cells of the first table by scorer."""
    table = result.stdout.partition("| scorer |")[2].partition("\n\n")[0]
    cells = [[cell.strip(" *") for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in cells}


def test_all_baselines_models_and_blends_stand_in_one_table(evaluate: Command, tmp_path: Path) -> None:
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    models = ("--model", "news/good", "--model", "news/other", "--model", "news@champion")
    result = evaluate(*models, "--slices", "--json", figures, "--html", page)
    assert result.exit_code == 0, result.output
    assert "data, split test: 64 impressions of 64 users, 256 candidates" in result.stdout
    rows = rows_of(result)
    counted = ["random", "popularity", "recent popularity", "item-kNN", "category affinity"]
    assert list(rows)[:5] == counted
    assert {"zero-shot cosine", "attention tower", "zero-shot served", "fusion"} < rows.keys()
    versions = [f"news/{version}" for version in ("good", "other", "weak")]
    assert [name for name in rows if name in versions] == versions
    assert {f"{name} + fusion" for name in versions} < rows.keys()
    assert "| ndcg@10 by slice | impressions | random |" in result.stdout
    assert "<svg" in page.read_text()
    report = decoded(Report, parsed(figures.read_bytes()))
    assert [each.scorer for each in report.evaluations] + [each.title for each in report.seeds] == list(rows)
    auc = {each.scorer: each.metric("auc").value for each in report.evaluations}
    assert auc["news/good"] > 0.9
    assert auc["news/good"] > auc["news/weak"] + 0.2
    assert auc["news/good + fusion"] > 0.9


def test_versions_that_differ_in_their_seed_alone_have_a_row_of_mean_and_spread(evaluate: Command) -> None:
    result = evaluate("--model", "news/good", "--model", "news/weak", "--model", "news/other", "--baselines", "none")
    rows = rows_of(result)
    assert list(rows) == ["news/good", "news/weak", "news/other", "mean ± spread of 2 seeds (news/good, news/other)"]
    means = rows["mean ± spread of 2 seeds (news/good, news/other)"]
    for column, mean in enumerate(means):
        both = [float(rows[name][column].partition(" ")[0]) for name in ("news/good", "news/other")]
        assert float(mean.partition(" ")[0]) == pytest.approx(np.mean(both), abs=1e-4)


def test_quick_baselines_need_no_base_and_a_limit_is_told(world: World) -> None:
    result = run("evaluate", "--data", world.data, "--baselines", "quick", "--limit", 8, "--base", "/nowhere")
    assert result.exit_code == 0, result.output
    assert "data (at most 8 of a split), split test: 8 impressions" in result.stdout
    rows = rows_of(result)
    assert list(rows) == ["random", "popularity", "recent popularity", "item-kNN", "category affinity"]
    whole = open_corpus(world.data, CorpusOptions())
    some = limited(whole, 8, 0)
    counted = fit_popularity(counted_to_the_test(whole))
    assert counted.log_counts.sum() > fit_popularity(counted_to_the_test(some)).log_counts.sum()
    wanted = measure(counted, some, "test").metric("auc")
    assert rows["popularity"][0].startswith(f"{wanted.value:.4f}"), result.stdout


def test_robustness_is_told_for_each_model(evaluate: Command) -> None:
    result = evaluate("--model", "news/good", "--model", "zero-shot", "--baselines", "none", "--robustness")
    assert result.exit_code == 0, result.output
    [good, _] = result.stdout.split("Robustness of ")[1:]
    assert good.startswith("news/good")
    lost = {row: float(loss) for row, loss in re.findall(r"^\| ([a-z ]+) \|.*\| ([+-][\d.]+) \|$", good, re.MULTILINE)}
    assert lost["another domain"] > 0.1  # what is left to go by is nothing
    assert lost["lower case"] == 0.0


def test_the_gate_lets_the_better_version_through_and_names_the_line_that_stops_the_worse(
    evaluate: Command, world: World, tmp_path: Path
) -> None:
    (tmp_path / "gate.json").write_bytes(encoded(GATE))
    given = ("--registry", world.registry, "--gate", tmp_path / "gate.json")
    better, worse = tmp_path / "better.json", tmp_path / "worse.json"
    told = evaluate("--model", "news/good", "--baselines", "none", "--evidence", better)
    assert told.exit_code == 0, told.output
    assert "Evidence of news/good against news/weak" in told.stdout
    assert list(rows_of(told)) == ["news/good", "news/weak"]
    evidence = decoded(Evidence, parsed(better.read_bytes()))
    assert [each.name for each in evidence.candidate.metrics if each.name == LATENCY_MS] == [LATENCY_MS]
    promoted = run("models", "promote", "news", "good", *given, "--evidence", better)
    assert promoted.exit_code == 0, promoted.output
    against = ("--against", "news/good")
    assert evaluate("--model", "news/weak", "--baselines", "none", "--evidence", worse, *against).exit_code == 0
    refused = run("models", "promote", "news", "weak", *given, "--evidence", worse)
    assert refused.exit_code == 1
    assert "auc against champion" in refused.stderr
    assert "Nothing has changed" in refused.stderr
    other = run("models", "promote", "news", "other", *given, "--evidence", worse)
    assert (other.exit_code, "evidence is of news/weak against news/good" in other.stderr) == (1, True)
    assert run("models", "rollback", "news", "--registry", world.registry).exit_code == 0


def test_a_folder_is_a_version_too_and_where_nothing_serves_evidence_is_against_nobody(
    evaluate: Command, world: World, tmp_path: Path, tiny_registry: Path
) -> None:
    result = evaluate(
        "--model", tiny_registry / "news" / "good", "--baselines", "none", "--evidence", tmp_path / "evidence.json"
    )
    assert result.exit_code == 0, result.output
    assert "against nobody, since nothing serves" in result.stdout
    assert decoded(Evidence, parsed((tmp_path / "evidence.json").read_bytes())).champion is None


@pytest.fixture
def tiny_registry(world: World, tmp_path: Path) -> Path:
    """One in which nothing serves."""
    copied = run("models", "copy", "news/good", "--registry", world.registry, "--to", tmp_path / "registry")
    assert copied.exit_code == 0, copied.output
    return tmp_path / "registry"


def test_a_version_with_a_fusion_is_measured_with_it_and_without(evaluate: Command, world: World) -> None:
    blend = Blend(made_fusion((MODEL, POPULARITY)), made_crowd(*(each.item_id for each in small_items())))
    manifest = replace(zero_shot_manifest(load_base(str(world.base))), name="blended", version="v1")
    write_version(world.registry / "blended", manifest, zero_shot_heads(), None, blend)
    rows = rows_of(evaluate("--model", "blended/v1", "--model", "zero-shot", "--baselines", "none"))
    with_it, without, zero_shot = rows.values()
    assert list(rows)[:2] == ["blended/v1", "blended/v1 without its fusion"]
    assert without == zero_shot != with_it
    on_validation = rows_of(evaluate("--model", "blended/v1", "--baselines", "none", "--split", "valid"))
    assert list(on_validation) == ["blended/v1 without its fusion"]


def test_the_same_call_gives_the_same_figures(evaluate: Command) -> None:
    one, two = (evaluate("--model", "news/good", "--baselines", "quick", "--seed", 3) for _ in range(2))
    assert one.stdout == two.stdout
    assert rows_of(evaluate("--baselines", "quick", "--seed", 4))["random"] != rows_of(one)["random"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--split", "dev"), "data has no examples in a split 'dev'; it has train, valid, test"),
        (("--model", "sport"), "nothing answers under the name 'sport'; name a version, like news/v2"),
        (("--model", "news/v9"), "model version news/v9: there is no such version"),
        (("--model", "/nowhere/at/all"), "the names of model and version must be"),
        (("--model", "news", "--registry", "absent"), "the registry folder does not exist"),
        (("--baselines", "none"), "there is nothing to measure; name a model with --model, or baselines"),
        (("--evidence", "evidence.json"), "evidence is of one model; name it with one --model"),
        (
            ("--model", "news/good", "--evidence", "evidence.json", "--split", "valid"),
            "versions are fitted to answers of the split 'valid'; take evidence on a test",
        ),
        (("--against", "news"), "--against says what evidence compares with; write some with --evidence"),
        (("--json", "no/such/folder/out.json"), "its folder does not exist; make it"),
        (("--model", "zero-shot", "--base", "/nowhere/at/all"), "/nowhere/at/all"),
        (("--data", "/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_1(evaluate: Command, arguments: Sequence[str], words: str) -> None:
    result = evaluate("--baselines", "quick", *arguments)
    assert (result.exit_code, words in result.stderr) == (1, True), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "|" not in result.stdout


def test_a_version_of_another_base_is_refused(evaluate: Command, tmp_path: Path) -> None:
    other = write_tiny_bert(tmp_path / "other", seed=1)
    result = evaluate("--model", "news/good", "--baselines", "none", "--base", other)
    assert result.exit_code == 1
    assert "it is built on the base" in result.stderr


def test_a_version_named_twice_is_one_row(evaluate: Command, world: World) -> None:
    folder = world.registry / "news" / "weak"
    rows = rows_of(evaluate("--model", "news", "--model", "news/weak", "--model", folder, "--baselines", "none"))
    assert list(rows) == ["news/weak"]


def test_different_versions_of_one_name_are_refused(evaluate: Command, world: World, tmp_path: Path) -> None:
    manifest = replace(zero_shot_manifest(load_base(str(world.base))), name="news", version="good")
    other = write_version(tmp_path / "news", manifest, zero_shot_heads(), None)
    result = evaluate("--model", "news/good", "--model", other, "--baselines", "none")
    assert (result.exit_code, "two different versions are called news/good" in result.stderr) == (1, True)
