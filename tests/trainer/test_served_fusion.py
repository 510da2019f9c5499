"""A version with a fusion answers over gRPC what the trainer measured."""

import math
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.types.v1 import event_pb2

from services.trainer.corpus import TEST, Corpus, Example
from services.trainer.nearest_source import NearestSource
from services.trainer.served_scorer import ServedScorer
from services.trainer.shipped_fusion import BlendedScorer, crowd_of, fit_shipped_fusion
from shared.model.base import Base
from shared.model.blend import SIGNALS, Blend
from shared.model.packed import PackedBert
from shared.model.versions import load_version, write_version
from tests.conftest import OpenChannel
from tests.ranker.conftest import StartRanker, start_ranker, tiny_base, tiny_folder, tiny_packed
from tests.shared.model.made_blend import STUMP, made_fusion
from tests.shared.model.made_version import make_version, manifest_for, random_heads
from tests.trainer.crowd_corpus import crowd_corpus, drawn_vectors

__all__ = ["start_ranker", "tiny_base", "tiny_folder", "tiny_packed"]


def _request(corpus: Corpus, example: Example, scores: np.ndarray) -> ranker_pb2.RankRequest:
    def text(row: int) -> ranker_pb2.ItemText:
        item = corpus.items[row]
        return ranker_pb2.ItemText(item_id=item.item_id, revision="r", title=item.title, category=item.category)

    published = [corpus.items[row].published_at for row in example.candidates]
    return ranker_pb2.RankRequest(
        history=[
            ranker_pb2.HistoryText(item=text(past.item), action=event_pb2.ACTION_CLICK) for past in example.history
        ],
        candidates=[text(row) for row in example.candidates.tolist()],
        signals=ranker_pb2.CandidateSignals(
            published_at_seconds=[math.nan if at is None else at for at in published], retrieval_scores=scores
        ),
        now=Timestamp(seconds=int(example.time or 0)),
    )


@pytest.mark.parametrize("kind", ["fitted", "trees"])
async def test_a_version_with_a_fusion_is_served_with_the_scores_it_was_measured_by(
    tmp_path: Path,
    tiny_base: Base,
    tiny_packed: PackedBert,
    start_ranker: StartRanker,
    open_test_channel: OpenChannel,
    kind: str,
) -> None:
    corpus = crowd_corpus()
    nearest = NearestSource(drawn_vectors(), quota=10)
    model = load_version(make_version(tmp_path, tiny_base, version="plain"), tiny_base, tiny_packed)
    scorer = ServedScorer(corpus, model)
    blend = fit_shipped_fusion(corpus, scorer, drawn_vectors())
    if kind == "trees":
        blend = Blend(made_fusion(SIGNALS, (STUMP, STUMP)), crowd_of(corpus))
    assert blend is not None
    manifest = manifest_for(tiny_base)
    write_version(tmp_path / "news", manifest, random_heads(manifest, tiny_base), None, blend)
    host = await start_ranker(registry=tmp_path)
    stub = ranker_pb2_grpc.RankerStub(open_test_channel(host))
    await stub.ActivateModel(ranker_pb2.ActivateModelRequest(name="news", version=manifest.version))
    examples = corpus.splits[TEST][:10]
    wanted = BlendedScorer(corpus, scorer, blend, nearest).scores(examples)
    plain = scorer.scores(examples)
    for example, each, alone in zip(examples, wanted, plain, strict=True):
        answer = await stub.Rank(_request(corpus, example, nearest.scores(example)))
        assert answer.blended
        found = [score.probabilities[0] for score in answer.scores]
        np.testing.assert_allclose(found, each, atol=1e-4)
        assert np.abs(each - alone).max() > 1e-3
