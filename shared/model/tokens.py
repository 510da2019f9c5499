"""Texts to token ids within the limits of a layout, special tokens included.

The limits are cut here, before packing, so that a cached candidate is the same whatever request it came with.
A fast tokenizer must not be used from two threads at once: the caller gives it one thread.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from shared.model.manifest import InputLayout

TokenIds = tuple[int, ...]
_ENTRIES_AT_ONCE = 16


class Tokeniser:
    """Builds the token ids of user contexts and candidates."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, layout: InputLayout) -> None:
        self._tokenizer = tokenizer
        self._layout = layout
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id

    def candidates(self, texts: Sequence[str]) -> list[TokenIds]:
        """`[CLS] text [SEP]` of each text (`text [SEP]` where the layout has no CLS), cut at max_candidate_tokens."""
        opening = (self._cls,) if self._layout.candidate_cls else ()
        most = self._layout.max_candidate_tokens - len(opening) - 1
        return [(*opening, *ids, self._sep) for ids in self._plain(texts, most)]

    def context(self, entries: Sequence[str]) -> TokenIds:
        """`[CLS] entries… [SEP]`, at most max_user_tokens; empty when no entry has a token.

        Entries come newest first and go in whole: the first that does not fit ends the context. Only an entry that
        would fill the context alone is cut.
        """
        room = self._layout.max_user_tokens - 2
        ids: list[int] = []
        for start in range(0, len(entries), _ENTRIES_AT_ONCE):
            for entry in self._plain(entries[start : start + _ENTRIES_AT_ONCE], room):
                if len(ids) + len(entry) > room:
                    return (self._cls, *ids, self._sep)
                ids.extend(entry)
        return (self._cls, *ids, self._sep) if ids else ()

    def _plain(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Token ids without special tokens, each cut at `most`."""
        if not texts:
            return []
        encoded = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=True,
            max_length=most,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids
