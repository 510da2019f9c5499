"""What the generated world promises: the same bytes everywhere, unique texts, and something to be learnt."""

import math
import re
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from shared.datasets import Dataset, DatasetError, WorldConfig, generate_world
from shared.datasets.vocabulary import TOPICS

SMALL = WorldConfig(seed=3, items=300, users=20, days=10, sessions=6)
# Changes with every word list and every rule of the simulator: then check the world and pin the new one.
PINNED = "875b5c78527764681c18ab1c8df4b4e5"


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate_world()


def auc(scores: list[tuple[float, int]]) -> float:
    """The chance that a clicked candidate scores above an unclicked one, ties counting half."""
    by_score: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for score, label in scores:
        by_score[score][label] += 1
    below, wins = 0, 0.0
    for _, (unclicked, clicked) in sorted(by_score.items()):
        wins += clicked * (below + unclicked / 2)
        below += unclicked
    return wins / (below * sum(label for _, label in scores))


def words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3}


def text_scores(world: Dataset, across: bool = False) -> list[tuple[float, int]]:
    """How well each candidate's words are known from past clicks: an inverse-document-frequency dot product
    over the texts, per click and per length. `across` keeps only clicks in other
    domains than the candidate's."""
    items = {item.item_id: item for item in world.items}
    texts = {key: words(" ".join((i.title, i.summary, i.category, *i.tags))) for key, i in items.items()}
    spread = Counter(word for text in texts.values() for word in text)
    weight = {word: math.log(len(texts) / count) for word, count in spread.items()}
    length = {key: math.sqrt(sum(weight[word] ** 2 for word in text)) for key, text in texts.items()}
    scores = []
    for shown in (each for each in world.impressions[::3] if len(each.history) >= 5):
        past: dict[str, Counter[str]] = defaultdict(Counter)
        clicks = Counter(items[entry.item_id].domain for entry in shown.history)
        for entry in shown.history:
            past[items[entry.item_id].domain].update(texts[entry.item_id])
        for candidate in shown.candidates:
            own = items[candidate.item_id].domain
            domains = [domain for domain in clicks if not across or domain != own]
            text = texts[candidate.item_id]
            known = sum(weight[word] * past[domain][word] for domain in domains for word in text)
            per_click = known / (1 + sum(clicks[domain] for domain in domains))
            scores.append((per_click / length[candidate.item_id], candidate.label))
    return scores


def test_the_embedded_world_is_the_pinned_one_to_the_byte(world: Dataset) -> None:
    assert world.fingerprint() == PINNED


def test_the_same_configuration_gives_the_same_world_and_another_seed_another_one() -> None:
    first, again = generate_world(SMALL), generate_world(SMALL)
    assert first == again
    assert first.fingerprint() == again.fingerprint()
    assert generate_world(replace(SMALL, seed=4)).fingerprint() != first.fingerprint()


def test_worlds_of_different_configurations_share_no_event_id() -> None:
    first, other = generate_world(SMALL), generate_world(replace(SMALL, users=21))
    assert not {e.event_id for e in first.interactions} & {e.event_id for e in other.interactions}


def test_adding_users_leaves_the_others_doing_what_they_did() -> None:
    def done(world: Dataset) -> list[tuple[str, str, str, float]]:
        events = (event for event in world.interactions if event.user_id <= "user-00020")
        return [(event.user_id, event.item_id, event.action, event.time) for event in events]

    assert sorted(done(generate_world(replace(SMALL, users=30)))) == sorted(done(generate_world(SMALL)))


def test_the_embedded_world_is_large_enough_and_small_enough(world: Dataset) -> None:
    assert len(world.items) >= 3000
    assert len({event.user_id for event in world.interactions}) >= 500
    assert 30_000 <= len(world.interactions) <= 60_000


def test_every_domain_has_eight_categories_and_some_are_in_all_four(world: Dataset) -> None:
    categories = defaultdict(set)
    for item in world.items:
        categories[item.domain].add(item.category)
    assert set(categories) == {"news", "shop", "video", "ads"}
    assert all(len(names) >= 8 for names in categories.values())
    assert "Cycling" in set.intersection(*categories.values())


def test_ids_are_unique(world: Dataset) -> None:
    for ids in (
        [item.item_id for item in world.items],
        [event.event_id for event in world.interactions],
        [shown.impression_id for shown in world.impressions],
    ):
        assert len(set(ids)) == len(ids)


def test_no_two_titles_are_the_same_or_made_of_the_same_words(world: Dataset) -> None:
    made_of = [tuple(sorted(re.findall(r"\w+", item.title.lower()))) for item in world.items]
    assert len(set(made_of)) == len(world.items)


def test_titles_read_as_one_clean_line(world: Dataset) -> None:
    for item in world.items:
        assert 12 <= len(item.title) <= 110, item.title
        assert not re.search(r"[{}\n]|  | ,|\.\.|, part ", item.title + item.summary), item.title
        assert item.title[0] == item.title[0].upper()


def test_no_shop_item_is_offered_twice_by_one_brand(world: Dataset) -> None:
    offers = [(item.publisher, item.tags[1]) for item in world.items if item.domain == "shop"]
    assert len(set(offers)) == len(offers)


def test_prices_stand_in_the_shop_only_and_durations_on_videos_only(world: Dataset) -> None:
    for item in world.items:
        assert (item.price_micros is not None) == (item.domain == "shop") == (item.currency == "EUR")
        assert (item.duration_s is not None) == (item.domain == "video")


def test_everything_is_published_before_now_and_shown_after_it_was_published(world: Dataset) -> None:
    published = {item.item_id: item.published_at or math.inf for item in world.items}
    assert max(published.values()) < world.now
    for shown in world.impressions:
        assert shown.time is not None
        assert all(published[candidate.item_id] <= shown.time for candidate in shown.candidates)


def test_interactions_are_in_time_order_and_end_before_now(world: Dataset) -> None:
    keys = [(event.time, event.event_id) for event in world.interactions]
    assert keys == sorted(keys)
    assert world.now - 30 * 86_400 <= keys[0][0] <= keys[-1][0] < world.now


def test_histories_hold_the_last_fifty_clicks_before_the_impression(world: Dataset) -> None:
    clicks = defaultdict(list)
    for event in world.interactions:
        if event.action == "click":
            clicks[event.user_id].append((event.item_id, event.time))
    for shown in world.impressions[::7]:
        assert shown.time is not None
        before = [click for click in clicks[shown.user_id] if click[1] < shown.time]
        assert [(entry.item_id, entry.time) for entry in shown.history] == before[-50:]


def test_every_labelled_candidate_is_a_click_and_every_click_a_labelled_candidate(world: Dataset) -> None:
    labelled = Counter(
        (shown.user_id, candidate.item_id)
        for shown in world.impressions
        for candidate in shown.candidates
        if candidate.label
    )
    assert labelled == Counter((e.user_id, e.item_id) for e in world.interactions if e.action == "click")


def test_purchases_cost_what_the_item_costs_and_happen_in_the_shop_only(world: Dataset) -> None:
    prices = {item.item_id: item.price_micros for item in world.items}
    bought = [event for event in world.interactions if event.action == "purchase"]
    assert bought
    for event in bought:
        assert round(event.value * 1_000_000) == prices[event.item_id]


def test_all_kinds_of_behaviour_occur_but_no_event_per_impression(world: Dataset) -> None:
    actions = Counter(event.action for event in world.interactions)
    assert set(actions) == {"click", "dwell", "like", "share", "comment", "purchase", "hide", "dislike"}
    assert all(event.value > 0 for event in world.interactions if event.action == "dwell")


def test_text_of_past_clicks_predicts_the_next_click(world: Dataset) -> None:
    measured = auc(text_scores(world))
    print(f"text AUC {measured:.3f}")
    assert measured > 0.7


def test_taste_carries_over_from_one_domain_to_the_others(world: Dataset) -> None:
    measured = auc(text_scores(world, across=True))
    print(f"text AUC from other domains only {measured:.3f}")
    assert measured > 0.68


def test_taste_changes_so_recent_clicks_of_curious_users_tell_more_than_old_ones(world: Dataset) -> None:
    categories = {item.item_id: item.category for item in world.items}
    shares = defaultdict(lambda: [Counter[str](), Counter[str]()])
    for event in world.interactions:
        if event.action == "click":
            shares[event.user_id][event.time > world.now - 8 * 86_400][categories[event.item_id]] += 1
    taken_up = 0
    for old, recent in shares.values():
        if old.total() >= 15 and recent.total() >= 8:
            favourite, count = recent.most_common(1)[0]
            taken_up += count / recent.total() > 0.3 and old[favourite] / old.total() < 0.1
    assert taken_up >= 30


def test_the_first_place_is_clicked_about_twice_as_often_as_the_last(world: Dataset) -> None:
    shown, clicked = Counter[int](), Counter[int]()
    for impression in world.impressions:
        for candidate in impression.candidates:
            assert candidate.position is not None
            shown[candidate.position] += 1
            clicked[candidate.position] += candidate.label
    rates = [clicked[place] / shown[place] for place in range(1, 11)]
    assert 1.7 < rates[0] / rates[9] < 2.6
    assert rates[0] > rates[4] > rates[9]


def test_a_world_beyond_the_phrases_still_has_unique_titles() -> None:
    titles = [item.title for item in generate_world(WorldConfig(items=12_000, users=1)).items]
    assert len(set(titles)) == 12_000


def test_every_topic_has_the_phrases_that_titles_need() -> None:
    assert len(TOPICS) >= 24
    keys = {topic.key for topic in TOPICS}
    for topic in TOPICS:
        assert len(topic.things) + len(topic.doing) >= 28, topic.key
        assert len(topic.things) >= 14, topic.key
        assert topic.products == () or len(topic.products) >= 14, topic.key
        assert set(topic.related) <= keys - {topic.key}
        for phrases in (topic.things, topic.doing, topic.people, topic.events, topic.brands, topic.offers):
            assert len(set(phrases)) == len(phrases), topic.key


@pytest.mark.parametrize(("field", "value"), [("items", 10), ("users", 0), ("days", 0), ("slate_size", 0)])
def test_a_world_that_is_too_small_is_refused_by_the_name_of_the_field(field: str, value: int) -> None:
    with pytest.raises(DatasetError, match=f"WorldConfig.{field} is {value}"):
        replace(WorldConfig(), **{field: value})


def test_the_busiest_users_come_first(world: Dataset) -> None:
    totals = Counter(event.user_id for event in world.interactions)
    busiest = world.busiest_users(5)
    assert [totals[user] for user in busiest] == [count for _, count in totals.most_common(5)]
