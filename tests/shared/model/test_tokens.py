"""Templates and limits: what a model reads of items and histories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.base import Base
from shared.model.manifest import InputLayout
from shared.model.text import HistoryText, ItemText, text_of_history, text_of_item
from shared.model.tokens import LONGEST_TEXT, Tokeniser


def tokeniser(base: Base, **layout: int | bool) -> Tokeniser:
    return Tokeniser(base.tokenizer, InputLayout(**layout))


def words(base: Base, ids: tuple[int, ...]) -> str:
    return str(base.tokenizer.decode(ids))


def test_an_item_reads_title_category_publisher() -> None:
    assert text_of_item(ItemText(" Race ", "sport", "News")) == "Race . sport . News"


def test_empty_parts_are_left_out() -> None:
    assert text_of_item(ItemText("Race", "", "News")) == "Race . News"
    assert text_of_item(ItemText("Race")) == "Race"
    assert text_of_history(HistoryText("Race", " ")) == "Race"


def test_a_history_entry_reads_title_and_category() -> None:
    assert text_of_history(HistoryText("Race", "sport", "click")) == "Race . sport"


def test_a_candidate_is_a_text_of_its_own_where_the_layout_has_cls(tiny_base: Base) -> None:
    (own,) = tokeniser(tiny_base, candidate_cls=True).candidates(["bicycle race"])
    (second,) = tokeniser(tiny_base, candidate_cls=False).candidates(["bicycle race"])
    assert words(tiny_base, own) == "[CLS] bicycle race [SEP]"
    assert words(tiny_base, second) == "bicycle race [SEP]"


@pytest.mark.parametrize("cls", [True, False])
def test_a_long_candidate_is_cut_at_the_limit_and_still_ends_with_sep(tiny_base: Base, cls: bool) -> None:
    (ids,) = tokeniser(tiny_base, candidate_cls=cls, max_candidate_tokens=8).candidates(["race " * 50])
    assert len(ids) == 8
    assert ids[-1] == tiny_base.tokenizer.sep_token_id


def test_a_context_holds_whole_entries_newest_first(tiny_base: Base) -> None:
    ids = tokeniser(tiny_base, max_user_tokens=8).context_of(
        ["bicycle race", "bank interest rates", "money of the bank"]
    )
    assert words(tiny_base, ids) == "[CLS] bicycle race bank interest rates [SEP]"


def test_an_entry_that_does_not_fit_ends_the_context(tiny_base: Base) -> None:
    ids = tokeniser(tiny_base, max_user_tokens=6).context_of(["bicycle race", "bank interest rates", "money"])
    assert words(tiny_base, ids) == "[CLS] bicycle race [SEP]"


def test_a_first_entry_that_is_too_long_is_cut(tiny_base: Base) -> None:
    ids = tokeniser(tiny_base, max_user_tokens=5).context_of(["bank interest rates money", "race"])
    assert words(tiny_base, ids) == "[CLS] bank interest rates [SEP]"


def test_no_history_gives_no_context(tiny_base: Base) -> None:
    assert tokeniser(tiny_base).context_of([]) == ()
    assert tokeniser(tiny_base).context_of([" "]) == ()


@given(entries=st.lists(st.text(max_size=40), max_size=60), most=st.integers(3, 64))
def test_a_context_never_exceeds_its_limit(tiny_base: Base, entries: list[str], most: int) -> None:
    ids = tokeniser(tiny_base, max_user_tokens=most).context_of(entries)
    assert len(ids) <= most
    assert not ids or (ids[0], ids[-1]) == (tiny_base.tokenizer.cls_token_id, tiny_base.tokenizer.sep_token_id)


def test_plain_ids_are_the_same_for_every_layout_and_bounded(tiny_base: Base) -> None:
    texts = ["bicycle race", "race " * 1000, ""]
    one, other = (tokeniser(tiny_base, max_candidate_tokens=most).plain(texts) for most in (4, 32))
    assert one == other
    assert [len(ids) for ids in one] == [2, LONGEST_TEXT, 0]


@pytest.mark.parametrize(
    ("layout", "named"),
    [
        (InputLayout(max_user_tokens=2), "max_user_tokens"),
        (InputLayout(max_user_tokens=193), "max_user_tokens"),
        (InputLayout(candidate_offset=161), "candidate_offset"),
        (InputLayout(split_depth=4), "split_depth"),
        (InputLayout(candidate_token_type=2), "candidate_token_type"),
        (InputLayout(pooling="max"), "pooling"),  # type: ignore[arg-type]
    ],
)
def test_a_layout_that_the_base_cannot_read_is_refused(layout: InputLayout, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        layout.check(positions=192, layers=3)
