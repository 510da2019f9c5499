"""Tokens: what goes in comes out, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.tokens import Issue, ItemToken, PageToken, TokenError, Tokens

OLD, NEW = b"an old key of enough bytes", b"n" * 100
ISSUE = Issue("page-1", "home", "0123456789abcdef", 1_768_478_400, True)
text = st.text(st.characters(exclude_categories=["Cs"]))


@given(text, text, st.integers(1, 10_000), text)
def test_an_item_token_says_what_was_signed_whatever_the_texts_hold(item_id, category, position, surface):
    tokens, issue = Tokens([NEW]), Issue("page-1", surface, "user", 1_768_478_400, False)
    signed = tokens.item_signer(issue)(item_id, category, position)
    assert tokens.read_item(signed) == ItemToken(issue, item_id, category, position)


def test_a_token_of_an_earlier_key_is_read_and_one_of_a_foreign_key_is_not():
    signed = Tokens([OLD]).item_signer(ISSUE)("i1", "c1", 1)
    assert Tokens([NEW, OLD]).read_item(signed).item_id == "i1"
    with pytest.raises(TokenError):
        Tokens([NEW]).read_item(signed)


def test_keys_count_to_their_last_byte_however_long_they_are():
    signed = Tokens([b"k" * 99 + b"1"]).item_signer(ISSUE)("i1", "c1", 1)
    with pytest.raises(TokenError):
        Tokens([b"k" * 99 + b"2"]).read_item(signed)


def test_one_kind_of_token_does_not_pass_for_the_other():
    tokens = Tokens([NEW])
    with pytest.raises(TokenError):
        tokens.read_page(tokens.item_signer(ISSUE)("i1", "c1", 1))
    with pytest.raises(TokenError):
        tokens.read_item(tokens.sign_page(PageToken("page-1", "user", "request", ["i1"])))


@given(st.integers(0, 10_000))
def test_a_changed_character_is_noticed(place):
    tokens = Tokens([NEW])
    signed = tokens.item_signer(ISSUE)("i1", "c1", 1)
    at = place % (len(signed) - 1)  # the last character carries spare bits
    changed = signed[:at] + ("A" if signed[at] != "A" else "B") + signed[at + 1 :]
    with pytest.raises(TokenError):
        tokens.read_item(changed)
