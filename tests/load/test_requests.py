"""The requests: seeded, Zipf-distributed, valid, and as the orchestrator itself would ask."""

import json
from collections import Counter
from itertools import islice

import pytest
from google.protobuf import json_format
from homepage.profile.v1 import profile_pb2
from homepage.ranker.v1 import ranker_pb2
from homepage.retrieval.v1 import retrieval_pb2
from homepage.v1 import homepage_pb2

from services.cli.loading import to_item
from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.requests import write_requests
from services.cli.loadtest.scenarios import find_scenario, scenario_names
from services.cli.loadtest.visits import Crowd, draw_visits
from services.orchestrator.recommend import Rules
from services.retrieval.translation import to_items
from shared.timestamps import to_seconds

KINDS = {
    "homepage.v1.Homepage.Recommend": homepage_pb2.RecommendRequest,
    "homepage.profile.v1.Profile.GetProfile": profile_pb2.GetProfileRequest,
    "homepage.retrieval.v1.Retrieval.Retrieve": retrieval_pb2.RetrieveRequest,
    "homepage.ranker.v1.Ranker.Rank": ranker_pb2.RankRequest,
}


def requests(method, world, path, seed=0):
    write_requests(method, world, Crowd(seed), path)
    return [json_format.ParseDict(each, KINDS[method]()) for each in json.loads(path.read_text())]


@pytest.mark.parametrize("method", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(world, tmp_path, method):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for path, seed in ((one, 3), (two, 3), (other, 4)):
        write_requests(method, world, Crowd(seed), path)
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != other.read_bytes()


def test_a_user_comes_as_often_as_the_inverse_of_its_rank_says(world):
    crowd = Crowd(visitor_share=0, acted_share=0)
    count = Counter(visit.user_id for visit in islice(draw_visits(world, crowd), 60_000))
    total = sum(1 / rank for rank in range(1, len(world.users) + 1))
    for rank in (1, 2, 4, 8, 16, 32):
        assert count[world.users[rank - 1]] == pytest.approx(60_000 / rank / total, rel=0.15)


def test_the_most_active_users_come_first(world):
    assert len(world.past(world.users[0], 1000)) > len(world.past(world.users[-1], 1000))


def test_visitors_and_users_who_just_acted_come_in_their_shares(world):
    visits = list(islice(draw_visits(world, Crowd(visitor_share=0.2, acted_share=0.5)), 10_000))
    visitors = [visit for visit in visits if visit.visitor_id]
    assert len(visitors) == pytest.approx(2000, rel=0.1)
    assert len({visit.visitor_id for visit in visitors}) == len(visitors), "each is seen once"
    assert sum(visit.acted_on is not None for visit in visits) == pytest.approx(4000, rel=0.1)


def test_pages_are_asked_for_at_the_worlds_present_with_what_was_just_clicked(world, tmp_path):
    made = requests("homepage.v1.Homepage.Recommend", world, tmp_path / "requests")
    assert {to_seconds(each.context.now) for each in made} == {world.now}
    assert all(bool(each.user_id) != bool(each.visitor_id) for each in made)
    acted = [each for each in made if each.recent_events]
    assert 0.2 < len(acted) / len(made) < 0.35
    assert all(each.recent_events[0].item_id in world.item_of for each in acted)


def test_the_other_services_are_asked_what_a_page_asks_them(world, tmp_path):
    rules = Rules()
    profiles = requests("homepage.profile.v1.Profile.GetProfile", world, tmp_path / "profile")
    searches = requests("homepage.retrieval.v1.Retrieval.Retrieve", world, tmp_path / "retrieval")
    ranks = requests("homepage.ranker.v1.Ranker.Rank", world, tmp_path / "ranker")
    assert {each.max_events for each in profiles} == {rules.history}
    assert {each.max_candidates for each in searches} == {rules.candidates}
    assert max(len(each.history) for each in searches) == rules.history
    assert {len(each.candidates) for each in ranks} == {rules.candidates}
    assert max(len(each.history) for each in ranks) == rules.ranked_history
    for rank in ranks[:20]:
        shown = [each.item.item_id for each in rank.history]
        assert len(set(shown)) == len(shown)
        times = [to_seconds(each.time) for each in rank.history]
        assert times == sorted(times, reverse=True)


def test_texts_carry_the_revision_under_which_the_library_knows_them(world, tmp_path):
    [rank, *_] = requests("homepage.ranker.v1.Ranker.Rank", world, tmp_path / "ranker")
    put = retrieval_pb2.PutItemsRequest(items=[to_item(item) for item in world.items])
    library = {item.item_id: item for item in to_items(put)}
    for text in rank.candidates:
        stored = library[text.item_id]
        assert (text.revision, text.title, text.category) == (stored.revision, stored.title, stored.category)


def test_a_method_without_requests_is_refused(world, tmp_path):
    with pytest.raises(LoadTestError, match="data-file"):
        write_requests("a.B.C", world, Crowd(), tmp_path / "requests")


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_calls_a_method_that_requests_are_made_for(name):
    assert find_scenario(name).settings.method in KINDS
