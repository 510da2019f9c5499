"""A search finds the better recipe, ends what falls behind, and goes on after it was killed as if it had not been."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
import pytest
import torch

from services.trainer.corpus import TRAIN, VALID, Corpus
from services.trainer.fitting import DivergedError, NothingToLearnError
from services.trainer.optional import MissingPackageError
from services.trainer.recipe import read_recipe
from services.trainer.search_space import Between, OneOf, Space
from services.trainer.tuning import Limits, NothingFoundError, Surroundings, Task, TrialEnd, Tuned, tune, write_tuned
from shared.clock import SystemClock
from shared.model.base import Base
from tests.trainer.small_corpus import RECIPE, small_corpus

CORPUS = small_corpus()
QUICK = replace(RECIPE, most_steps=6, evaluate_every=2, checkpoint_every=2, lora_dropout=0.0, similarity_start=1.0)
RATES: Space = {"learning_rate": Between(1e-4, 1e-2, log=True), "rank": Between(2, 8)}


class KilledError(BaseException):
    """What nothing in the program catches: the search is left as a kill would leave it."""


@dataclass
class DeadlyClock(SystemClock):
    """Kills, or does other harm, at the n-th look at it."""

    looks_left: int
    harm: BaseException = field(default_factory=KilledError)

    def monotonic(self) -> float:
        self.looks_left -= 1
        if not self.looks_left:
            raise self.harm
        return super().monotonic()


@dataclass
class Search:
    """Calls of `tune` over one folder."""

    base: Base
    work: Path
    ends: list[TrialEnd] = field(default_factory=list)
    corpus: Corpus = CORPUS

    def run(self, trials: int, space: Space = RATES, clock: SystemClock | None = None, **limits: float) -> Tuned:
        around = Surroundings(self.work, self.ends.append, clock=clock or SystemClock())
        return tune(Task(self.corpus, self.base, QUICK, space), Limits(trials, **limits), around)

    def course(self) -> list[object]:
        """All that does not depend on the machine's speed."""
        return [(end.number, end.outcome, end.values, end.metric, end.best, end.best_number) for end in self.ends]

    def reports(self) -> list[dict[int, float]]:
        """Of each trial that was not killed, what it reported to the study and when."""
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{self.work}/study.db")
        return [trial.intermediate_values for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


MakeSearch = Callable[[str], Search]


@pytest.fixture
def search(tiny_base: Base, tmp_path: Path) -> MakeSearch:
    return lambda name: Search(tiny_base, tmp_path / name)


def test_the_best_trial_becomes_a_recipe_that_training_reads(search: MakeSearch, tmp_path: Path) -> None:
    one = search("one")
    tuned = one.run(4)
    assert one.ends[0].values == {"learning_rate": QUICK.learning_rate, "rank": QUICK.rank}
    assert [end.number for end in one.ends] == [1, 2, 3, 4]
    metrics = [end.metric or 0.0 for end in one.ends]
    assert tuned.metric == max(metrics)
    assert tuned.number == metrics.index(max(metrics)) + 1
    best = one.ends[tuned.number - 1].values
    assert tuned.recipe == replace(QUICK, learning_rate=best["learning_rate"], rank=best["rank"])
    for name in ("best.toml", "best.json"):
        write_tuned(tmp_path / name, tuned)
        assert read_recipe(tmp_path / name) == tuned.recipe
    told = (tmp_path / "best.toml").read_text().splitlines()[0]
    assert told.startswith(f"# trial {tuned.number} of 4, auc {tuned.metric:.4f} on valid")
    assert told.endswith(CORPUS.fingerprint)


def test_a_recipe_appears_whole_or_the_one_before_stays(search: MakeSearch, tmp_path: Path) -> None:
    tuned, path = search("one").run(1), tmp_path / "made" / "best.toml"
    path.parent.mkdir()
    write_tuned(path, tuned)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_tuned(path, replace(tuned, fingerprint="\ud800"))
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == {"best.toml": before}


def test_a_search_with_more_trials_goes_further_and_a_finished_one_trains_nothing(search: MakeSearch) -> None:
    whole, parts = search("whole"), search("parts")
    found = whole.run(4)
    parts.run(2)
    assert parts.run(4) == found
    assert parts.course() == whole.course()
    assert parts.run(4) == found
    assert len(parts.ends) == 4


@pytest.mark.parametrize("looks", [20, 45, 60])
def test_a_killed_search_finds_what_an_uninterrupted_one_would(search: MakeSearch, looks: int) -> None:
    whole, killed = search("whole"), search("killed")
    found = whole.run(3)
    with pytest.raises(KilledError):
        killed.run(3, clock=DeadlyClock(looks))
    assert killed.run(3) == found
    assert killed.reports() == whole.reports()
    assert all(line in whole.course() for line in killed.course())  # one may have been lost between study and screen


def test_what_falls_behind_ends_early(search: MakeSearch) -> None:
    one = search("one")
    one.run(14, {"learning_rate": OneOf((3e-3, 1e-8)), "heads_learning_rate": OneOf((3e-2, 1e-8))})
    behind = [end for end in one.ends if end.outcome == "fell behind"]
    assert behind
    assert all(end.values != {"learning_rate": 3e-3, "heads_learning_rate": 3e-2} for end in behind)
    assert all((end.metric or 0.0) < (end.best or 0.0) for end in behind)


def test_values_that_do_not_go_together_cost_a_trial_and_no_more(search: MakeSearch) -> None:
    one = search("one")
    tuned = one.run(6, {"batch_slates": OneOf((8, 0))})
    assert {(end.values["batch_slates"], end.outcome) for end in one.ends} == {
        (8, "finished"),
        (0, "cannot be trained"),
    }
    assert tuned.recipe.batch_slates == 8


@pytest.mark.parametrize("harm", [DivergedError("diverged"), torch.OutOfMemoryError("too large")])
def test_a_trial_that_cannot_be_trained_to_its_end_costs_a_trial_and_is_never_the_best(
    search: MakeSearch, harm: Exception
) -> None:
    one = search("one")
    looks = 12  # of the first trial, which then has been measured
    with pytest.raises(NothingFoundError, match="no trial was finished"):
        one.run(1, clock=DeadlyClock(looks, harm))
    (failed,) = one.ends
    assert (failed.outcome, failed.best) == ("cannot be trained", None)
    assert failed.metric is not None
    assert one.run(2).number == 2


def test_what_fell_behind_is_never_the_best(search: MakeSearch) -> None:
    """A study may hold the greatest of all figures for a trial that ended early: its last report."""
    one = search("one")
    found = one.run(1)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{one.work}/study.db")
    behind = optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED, value=2.0, user_attrs={"number": 2, "values": {"rank": 3}}
    )
    study.add_trial(behind)
    assert one.run(2).number == found.number


def test_a_killed_search_of_other_data_is_not_in_the_way(search: MakeSearch) -> None:
    one = search("one")
    with pytest.raises(KilledError):
        one.run(1, clock=DeadlyClock(12))
    assert list(one.work.glob("trial-*"))
    one.corpus = replace(CORPUS, fingerprint="1" * 32)
    assert one.run(1).fingerprint == one.corpus.fingerprint


def test_a_choice_that_equals_what_the_recipe_has_is_tried_first(search: MakeSearch) -> None:
    one = search("one")
    one.run(1, {"similarity_start": OneOf((5, 4, 3, 2, 1))})  # written without a point, as TOML may have them
    assert one.ends[0].values == {"similarity_start": QUICK.similarity_start}


def test_another_space_is_another_search(search: MakeSearch) -> None:
    one = search("one")
    one.run(1)
    tuned = one.run(1, {"rank": OneOf((2,))})
    assert (tuned.recipe.rank, [end.number for end in one.ends]) == (2, [1, 1])


def test_no_trial_begins_when_time_is_over(search: MakeSearch) -> None:
    one = search("one")
    with pytest.raises(NothingFoundError, match="more time"):
        one.run(3, seconds=0.0)
    assert one.ends == []


def test_without_validation_there_is_nothing_to_choose_by(tiny_base: Base, tmp_path: Path) -> None:
    corpus = replace(CORPUS, splits={TRAIN: CORPUS.splits[TRAIN], VALID: ()})
    with pytest.raises(NothingToLearnError, match="no split 'valid'"):
        tune(Task(corpus, tiny_base, QUICK, RATES), Limits(1), Surroundings(tmp_path, print))


def test_without_optuna_it_says_how_to_get_it(tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"optuna is not installed; pip install 'homepage-recommender\[tra"):
        tune(Task(CORPUS, tiny_base, QUICK, RATES), Limits(1), Surroundings(tmp_path, print))
