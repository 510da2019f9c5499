"""Batches hold every text once and follow one seeded order."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.batches import Order, make_batch, tokenise
from services.trainer.corpus import TRAIN, Past
from shared.model.base import Base
from shared.model.tokens import Tokeniser
from tests.trainer.small_corpus import LAYOUT, small_corpus


def test_contexts_and_items_that_repeat_are_there_once(tiny_base: Base) -> None:
    corpus = small_corpus()
    first, second = corpus.splits[TRAIN][:2]
    same = replace(second, history=first.history, candidates=first.candidates[:2], labels=first.labels[:2])
    tokens = tokenise(corpus, tiny_base.tokenizer, LAYOUT)
    batch = make_batch([first, same], tokens)
    assert batch.contexts is not None
    assert len(batch.contexts.packing.lengths) == 1
    assert batch.item_rows.tolist() == sorted(first.candidates.tolist())
    assert batch.item_rows[batch.item_of].tolist() == [*first.candidates, *first.candidates[:2]]
    assert batch.slate_of.tolist() == [0, 0, 0, 0, 1, 1]


def test_tokens_are_those_that_serving_makes(tiny_base: Base) -> None:
    corpus = small_corpus()
    item = replace(corpus.items[0], publisher="the bank")
    corpus = replace(corpus, items=(item, *corpus.items[1:]))
    tokens, serving = tokenise(corpus, tiny_base.tokenizer, LAYOUT), Tokeniser(tiny_base.tokenizer, LAYOUT)
    assert [tokens.candidates[0]] == serving.candidates([f"{item.title} . news . the bank"])
    history = (Past(0, "click", None), Past(3, "like", None))
    entries = [f"{corpus.items[row].title} . news" for row in (0, 3)]
    assert tokens.context(history) == serving.context_of(entries)


@pytest.mark.parametrize("action", ["dislike", "hide"])
def test_what_the_user_refused_is_left_out_of_the_context(tiny_base: Base, action: str) -> None:
    tokens = tokenise(small_corpus(), tiny_base.tokenizer, LAYOUT)
    with_it = tokens.context((Past(1, action, None), Past(2, "click", None)))
    assert with_it == tokens.context((Past(2, "click", None),))
    assert tokens.context((Past(1, action, None),)) == ()


def test_every_epoch_shows_every_slate_once_in_another_order() -> None:
    examples = small_corpus(train=20).splits[TRAIN]
    order = Order(examples, batch_slates=8, most_candidates=0, seed=0)
    shown = [example.impression_id for step in range(5) for example in order.of_step(step)]
    epochs = [shown[:20], shown[20:]]
    assert all(Counter(epoch) == Counter(example.impression_id for example in examples) for epoch in epochs)
    assert epochs[0] != epochs[1]
    again = Order(examples, batch_slates=8, most_candidates=0, seed=0)
    assert [example.impression_id for example in again.of_step(3)] == shown[24:32]
    other = Order(examples, batch_slates=8, most_candidates=0, seed=1)
    assert [example.impression_id for example in other.of_step(0)] != shown[:8]


def test_a_large_slate_keeps_its_positives_and_draws_the_others_anew() -> None:
    (example,) = small_corpus(train=1, candidates=30).splits[TRAIN]
    labels = np.zeros((30, 2), np.float32)
    labels[[4, 20], 0] = 1
    example = replace(example, labels=labels, positions=np.arange(1, 31, dtype=np.int32))
    order = Order([example], batch_slates=1, most_candidates=6, seed=0)
    drawn = [order.of_step(step)[0] for step in range(4)]
    for cut in drawn:
        assert cut.labels[:, 0].sum() == 2
        assert len(cut.candidates) == len(cut.labels) == 6
        assert cut.positions is not None
        assert cut.candidates.tolist() == example.candidates[cut.positions - 1].tolist()
    assert len({tuple(cut.candidates.tolist()) for cut in drawn}) > 1


def test_a_slate_of_positives_alone_is_cut_too() -> None:
    (example,) = small_corpus(train=1, candidates=30).splits[TRAIN]
    example = replace(example, labels=np.ones((30, 2), np.float32))
    (cut,) = Order([example], batch_slates=1, most_candidates=6, seed=0).of_step(0)
    assert len(cut.candidates) == 6
