"""Texts to token ids within the limits of a layout, special tokens included.

The limits are cut here, before packing, so that a cached candidate is the same whatever request it came with.
A fast tokenizer must not be used from two threads at once: the caller gives it one thread.
"""

from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from shared.model.manifest import InputLayout

TokenIds = tuple[int, ...]
LONGEST_TEXT = 254
"""Tokens of one text; a layout that takes more of a candidate, or an entry of a history, gets no more."""


class Tokeniser:
    """Builds the token ids of user contexts and candidates. `plain` is what costs time; the rest only puts together."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, layout: InputLayout) -> None:
        self._tokenizer = tokenizer
        self._layout = layout
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._context_room = layout.max_user_tokens - 2

    @property
    def most_entries(self) -> int:
        """How many entries a user context can hold at most: one token each."""
        return self._context_room

    def plain(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text without special tokens; the same for every layout."""
        if not texts:
            return []
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=True,
            max_length=LONGEST_TEXT,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return [tuple(ids) for ids in encoded["input_ids"]]

    def candidate(self, plain: TokenIds) -> TokenIds:
        """`[CLS] text [SEP]` (`text [SEP]` where the layout has no CLS), cut at max_candidate_tokens."""
        opening = (self._cls,) if self._layout.candidate_cls else ()
        return (*opening, *plain[: self._layout.max_candidate_tokens - len(opening) - 1], self._sep)

    def context(self, entries: Iterable[TokenIds]) -> TokenIds:
        """`[CLS] entries… [SEP]` of plain ids, at most max_user_tokens; empty when no entry has a token.

        Entries come newest first and go in whole: the first that does not fit ends the context. Only an entry that
        would fill the context alone is cut.
        """
        room = self._context_room
        ids: list[int] = []
        for entry in entries:
            cut = entry[:room]
            if len(ids) + len(cut) > room:
                break
            ids.extend(cut)
        return (self._cls, *ids, self._sep) if ids else ()

    def candidates(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text as a candidate."""
        return [self.candidate(plain) for plain in self.plain(texts)]

    def context_of(self, texts: Sequence[str]) -> TokenIds:
        """Token ids of a user context of these entries, newest first."""
        return self.context(self.plain(texts))
