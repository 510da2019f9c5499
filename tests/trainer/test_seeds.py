"""Seeds: only what differs in nothing else is averaged."""

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.bootstrap import Resampling
from services.trainer.evaluation import EvaluationOptions, evaluate
from services.trainer.reports import markdown_table
from services.trainer.seeds import same_but_seed, seed_runs
from shared.model.manifest import InputLayout, ModelManifest, Platt
from tests.trainer.measured_corpus import TableScorer, drawn_corpus
from tests.trainer.promoted import ORIGIN


def manifest(version: str, **settings: str) -> ModelManifest:
    return ModelManifest(
        name="news",
        version=version,
        base_id="base",
        base_sha256="0" * 64,
        layout=InputLayout(),
        actions=("click",),
        calibration=(Platt(),),
        calibrated=True,
        origin=replace(ORIGIN, settings={"rank": "8", **settings}),
    )


def test_versions_of_one_recipe_and_data_are_a_group_one_for_each_seed() -> None:
    first, second, third = (manifest(f"v{seed}", seed=str(seed)) for seed in range(3))
    assert same_but_seed([first, second, third]) == ((first, second, third),)
    again = replace(first, version="again")
    others = [
        again,
        manifest("other", seed="1", rank="4"),
        replace(
            manifest("data", seed="1"), origin=replace(ORIGIN, fingerprint="1" * 32, settings=third.origin.settings)
        ),
        replace(manifest("base", seed="1"), base_sha256="1" * 64),
        replace(manifest("unknown"), origin=None),
        manifest("unseeded"),
    ]
    assert same_but_seed([first, *others]) == ()
    assert same_but_seed([first, *others, second]) == ((first, second),)


def test_the_row_of_seeds_is_mean_and_spread_of_its_figures() -> None:
    options = EvaluationOptions(resampling=Resampling(draws=20))
    runs = [
        evaluate(
            TableScorer(np.random.default_rng(seed).random(30, np.float32), f"v{seed}"), drawn_corpus(), "test", options
        )
        for seed in range(3)
    ]
    seeds = seed_runs(runs)
    values = [run.metric("auc").value for run in runs]
    figure = seeds.figure("auc")
    assert (figure.mean, figure.deviation, figure.seeds) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        3,
    )
    *_, row = markdown_table(runs, seeds=[seeds]).splitlines()
    assert row.startswith("| mean ± spread of 3 seeds (v0, v1, v2) |")
    assert f"| {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f} |" in row
