"""Predictions come back in the order of the examples, and the metric is what it is called."""

import math

import numpy as np
import pytest
import torch

from services.trainer.batches import tokenise
from services.trainer.corpus import TRAIN, Example
from services.trainer.distributed import Processes
from services.trainer.prediction import in_bfloat16, measured, predict
from services.trainer.training_model import TrainingModel
from shared.model.base import Base
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus, small_example

NAN = float("nan")


def test_slates_of_any_size_are_predicted_in_their_order(tiny_base: Base) -> None:
    corpus, random = small_corpus(), np.random.default_rng(0)
    examples = [
        small_example(number, random, size) for number, size in enumerate([30, 1, 12, 3, 30, 30, 30, 30, 30, 30])
    ]
    tokens = tokenise(corpus, tiny_base.tokenizer, LAYOUT)
    model = TrainingModel(tiny_base, RECIPE, actions=2).train()
    found = predict(model, examples, tokens, Processes())
    assert model.training
    for example, logits in zip(examples, found, strict=True):
        (alone,) = predict(model, [example], tokens, Processes())
        np.testing.assert_allclose(logits, alone, atol=1e-5)
        assert logits.shape == example.labels.shape


def labelled(labels: list[float]) -> Example:
    example = small_corpus(train=1).splits[TRAIN][0]
    return Example(
        example.impression_id,
        example.user,
        None,
        (),
        np.arange(len(labels), dtype=np.int32),
        np.asarray(labels, np.float32)[:, None],
    )


def test_metrics_equal_hand_worked_ones() -> None:
    examples = [labelled([1, 0, NAN]), labelled([0, 0, 1]), labelled([0])]
    logits = [np.asarray(part, np.float32)[:, None] for part in ([2, 2, 9], [1, 4, 3], [0])]
    assert measured("slate_auc", logits, examples) == pytest.approx((0.5 + 0.5) / 2)
    # 2 beats 1 and 0, ties with 2, loses to 4; 3 beats 2, 1 and 0, loses to 4.
    assert measured("auc", logits, examples) == pytest.approx((2.5 + 3) / 8)
    ndcg = (1 + 1 / math.log2(3)) / 2, 1 / math.log2(3)
    assert measured("ndcg@10", logits, examples) == pytest.approx(sum(ndcg) / 2)
    losses = [math.log1p(math.exp(-z)) for z in (2, 3)] + [math.log1p(math.exp(z)) for z in (2, 1, 4, 0)]
    assert measured("loss", logits, examples) == pytest.approx(-np.mean(losses))


@pytest.mark.parametrize("metric", ["auc", "slate_auc", "ndcg@10"])
def test_where_there_is_nothing_to_rank_the_metric_is_one_half(metric) -> None:
    assert measured(metric, [np.zeros((1, 1), np.float32)], [labelled([0])]) == 0.5


def test_bfloat16_is_taken_on_a_gpu_or_where_it_is_asked_for() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [in_bfloat16("auto", cpu), in_bfloat16("auto", cuda)] == [False, True]
    assert in_bfloat16("bfloat16", cpu)
    assert not in_bfloat16("float32", cuda)
