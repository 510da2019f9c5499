"""MIND folders become items, clicks and labelled impressions, or an error that says what to change."""

import json
from pathlib import Path

import pytest

from shared.datasets import Candidate, DatasetError, open_dataset, read_mind
from shared.datasets.mind import MOST_TAGS, open_mind

NEWS = "".join(
    f"N{number}\tsports\tgolf\tTitle {number}\tAbstract {number}\thttps://example.com/{number}\t[]\t[]\n"
    for number in (1, 2, 3, 4)
)
AT = 1573811712.0  # 11/15/2019 9:55:12 AM, UTC
BEHAVIORS = (
    "1\tU1\t11/15/2019 9:55:12 AM\tN1 N2\tN3-1 N4-0\n"
    "2\tU1\t11/14/2019 12:00:00 AM\tN1 N2\tN4-0 N3-0\n"
    "3\tU2\t11/15/2019 12:00:01 PM\t\tN1-0 N2-1\n"
)


def folder(path: Path, news: str = NEWS, behaviors: str = BEHAVIORS) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "news.tsv").write_text(news, encoding="utf-8")
    (path / "behaviors.tsv").write_text(behaviors, encoding="utf-8")
    return path


def test_impressions_keep_file_order_labels_and_places_counted_from_one(tmp_path: Path) -> None:
    data = read_mind(folder(tmp_path))
    assert [shown.impression_id for shown in data.impressions] == ["1", "2", "3"]
    assert data.impressions[0].time == AT
    assert data.impressions[0].candidates == (Candidate("N3", 1, 1), Candidate("N4", 0, 2))
    assert [entry.item_id for entry in data.impressions[0].history] == ["N1", "N2"]
    assert data.impressions[2].history == ()


def test_times_are_read_as_utc_with_noon_and_midnight_in_their_places(tmp_path: Path) -> None:
    morning, midnight, noon = (shown.time for shown in read_mind(folder(tmp_path)).impressions)
    assert (midnight, noon) == (1573689600.0, 1573819201.0)
    assert morning == AT


def test_a_history_becomes_clicks_a_minute_apart_before_the_users_first_impression(
    tmp_path: Path,
) -> None:
    data = read_mind(folder(tmp_path))
    first = 1573689600.0
    assert [(e.user_id, e.item_id, e.action, e.time) for e in data.interactions] == [
        ("U1", "N1", "click", first - 120.0),
        ("U1", "N2", "click", first - 60.0),
        ("U1", "N3", "click", AT),
        ("U2", "N2", "click", 1573819201.0),
    ]
    assert data.now == 1573819202.0


def test_event_ids_are_unique_and_the_same_at_every_reading(tmp_path: Path) -> None:
    ids = [[event.event_id for event in read_mind(folder(tmp_path)).interactions] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4


def test_news_keep_their_category_and_the_subcategory_as_tag(tmp_path: Path) -> None:
    item = read_mind(folder(tmp_path)).items[0]
    assert (item.item_id, item.title, item.summary, item.url) == (
        "N1",
        "Title 1",
        "Abstract 1",
        "https://example.com/1",
    )
    assert (item.category, item.tags, item.domain, item.published_at) == ("sports", ("golf",), "news", None)


def entities(*labels: str) -> str:
    return json.dumps([{"Label": label, "Type": "P", "WikidataId": "Q1", "Confidence": 1.0} for label in labels])


def tags_of(path: Path, subcategory: str, title: str, abstract: str) -> tuple[str, ...]:
    row = f"N9\tsports\t{subcategory}\tTitle\tAbstract\thttps://example.com\t{title}\t{abstract}\n"
    return read_mind(folder(path, NEWS + row)).items[-1].tags


def test_entities_of_title_and_abstract_are_tags_after_the_subcategory_each_once(tmp_path: Path) -> None:
    in_title, in_abstract = entities("Tiger Woods", "Golf", " PGA Tour "), entities("PGA Tour", "Müller", "")
    assert tags_of(tmp_path, "golf", in_title, in_abstract) == ("golf", "Tiger Woods", "PGA Tour", "Müller")
    assert tags_of(tmp_path, "", in_abstract, " ") == ("PGA Tour", "Müller")


def test_an_item_has_no_more_tags_than_the_contract_allows(tmp_path: Path) -> None:
    tags = tags_of(tmp_path, "golf", entities(*(f"e{number}" for number in range(100))), "[]")
    assert tags == ("golf", *(f"e{number}" for number in range(MOST_TAGS - 1)))


@pytest.mark.parametrize(
    "cell", ["[", "Golf", "3", '{"Label": "Golf"}', '["Golf"]', '[{"Type": "P"}]', '[{"Label": 3}]', "[" * 100_000]
)
def test_entities_that_are_no_list_with_labels_are_named_by_file_and_line(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DatasetError, match=r"news.tsv:5: title entities are .*; write a JSON list of objects"):
        tags_of(tmp_path, "golf", cell, "[]")
    with pytest.raises(DatasetError, match=r"news.tsv:5: abstract entities are .*; write a JSON list of objects"):
        tags_of(tmp_path, "golf", "", cell)


@pytest.mark.parametrize("name", ["train", "MINDsmall_train", "MINDlarge_train"])
def test_the_training_split_is_found_in_a_sub_folder(tmp_path: Path, name: str) -> None:
    folder(tmp_path / name)
    folder(tmp_path / "dev", behaviors="9" + BEHAVIORS.splitlines()[0] + "\n")
    data = open_dataset(tmp_path)
    assert data.source == "mind"
    assert {shown.split for shown in data.impressions} == {"train"}
    assert [shown.impression_id for shown in read_mind(tmp_path, "dev").impressions] == ["91"]


def test_what_refers_to_unknown_news_is_dropped_and_counted_while_places_stay(tmp_path: Path) -> None:
    news = NEWS + "N5\tsports\tgolf\t\t\t\t\t\n" + NEWS.splitlines()[0] + "\n"
    behaviors = (
        "1\tU1\t11/15/2019 9:55:12 AM\tN9 N1\tN5-1 N3-1 N3-0\n"
        "2\tU1\t11/15/2019 9:55:12 AM\t\tN9-1\n"
        "1\tU1\t11/15/2019 9:55:12 AM\t\tN1-1\n"
    )
    data = read_mind(folder(tmp_path, news, behaviors))
    assert data.dropped == {
        "news without title": 1,
        "news listed twice": 1,
        "history of unknown news": 1,
        "candidate of unknown news": 2,
        "candidate listed twice": 1,
        "impression without known candidate": 1,
        "impression listed twice": 1,
    }
    assert data.impressions[0].candidates == (Candidate("N3", 1, 2),)
    assert [event.item_id for event in data.interactions] == ["N1", "N3"]


@pytest.mark.parametrize(
    ("news", "behaviors", "message"),
    [
        (NEWS + "N5\tsports\n", BEHAVIORS, r"news.tsv:5: 2 columns; write 8, tab separated"),
        (NEWS + "\tsports\tgolf\tTitle\t\t\t\t\n", BEHAVIORS, r"news.tsv:5: the news id is empty"),
        (NEWS, BEHAVIORS + "4\tU1\n", r"behaviors.tsv:4: 2 columns; write 5, tab separated"),
        (NEWS, "1\t\t11/15/2019 9:55:12 AM\t\tN1-0\n", r"behaviors.tsv:1: the impression id or the user id"),
        (
            NEWS,
            "1\tU1\t2019-11-15\t\tN1-0\n",
            r"behaviors.tsv:1: time is '2019-11-15'; write it like 11/15/2019",
        ),
        (NEWS, "1\tU1\t13/15/2019 9:55:12 AM\t\tN1-0\n", r"behaviors.tsv:1: time is"),
        (NEWS, "1\tU1\t11/15/2019 13:55:12 AM\t\tN1-0\n", r"behaviors.tsv:1: time is"),
        (NEWS, "1\tU1\t11/15/2019 9:55:12 AM\t\tN1 N2\n", r"behaviors.tsv:1: candidate 'N1' has no label"),
        (NEWS, "1\tU1\t11/15/2019 9:55:12 AM\t\tN1-2\n", r"behaviors.tsv:1: candidate 'N1-2' has no label"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_line_and_remedy(
    tmp_path: Path, news: str, behaviors: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_mind(folder(tmp_path, news, behaviors))


def test_a_folder_without_the_split_says_what_to_unpack(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no news.tsv with behaviors.tsv .* MINDsmall_dev"):
        read_mind(tmp_path, "dev")


def test_rows_are_read_one_by_one_and_counted_whether_they_can_be_used_or_not(tmp_path: Path) -> None:
    unknown = "4\tU3\t11/15/2019 1:00:00 PM\t\tN9-1\n"
    rows = open_mind(folder(tmp_path, behaviors=unknown + BEHAVIORS + "broken\n"))
    walk = rows.impressions()
    assert [(row, shown.impression_id) for row, shown in (next(walk), next(walk), next(walk))] == [
        (1, "1"),
        (2, "2"),
        (3, "3"),
    ]
    with pytest.raises(DatasetError, match=r"behaviors.tsv:5: 1 columns"):
        next(walk)


def test_rows_of_one_user_with_the_same_words_share_one_history(tmp_path: Path) -> None:
    first, second, _ = read_mind(folder(tmp_path)).impressions
    assert first.history is second.history


def test_a_split_without_labels_says_so_before_it_is_read(tmp_path: Path) -> None:
    assert open_mind(folder(tmp_path)).labelled()
    assert open_mind(folder(tmp_path, behaviors="")).labelled()
    assert not open_mind(folder(tmp_path, behaviors="1\tU1\t11/15/2019 9:55:12 AM\tN1\tN3 N4\n")).labelled()
