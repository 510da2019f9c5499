"""Texts to tokens, with a cache in front: a text that was read before costs no tokenizer.

Tokenizers bear one thread only, and block; so there is one thread for them, off the event loop. Bulk work gets it for
a few texts at a time, and one bulk call after another, so that no other call waits for more than one such turn.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from services.ranker.caches import BoundedLru, packed_ids, unpacked_ids
from shared.model.tokens import TokenIds, Tokeniser

_ENTRIES_AT_ONCE = _BULK_AT_ONCE = 16
"""Of a history: most of a long one has no room in the context, and need not be read."""


class Texts:
    """Reads texts for all models: their tokenizer is one, only their layouts differ."""

    def __init__(self, cache: BoundedLru[str, bytes], looked_up: Callable[[int, int], None]) -> None:
        """`looked_up` is told hits and misses of each call."""
        self._cache = cache
        self._looked_up = looked_up
        self._bulk = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ranker-tokenise")

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False)

    async def read(
        self, tokeniser: Tokeniser, history: Sequence[str], items: Sequence[str], *, bulk: bool
    ) -> tuple[TokenIds, dict[str, TokenIds]]:
        """The user context of a history, newest first, and the plain token ids of every item's text."""
        known: dict[str, TokenIds] = {}
        for text in (*items, *history[: tokeniser.most_entries]):
            ids = self._cache.get(text)
            if ids is not None:
                known[text] = unpacked_ids(ids)
        hits = len(known)
        missing = [text for text in dict.fromkeys(items) if text not in known]
        known_context = None if missing else _known_context(tokeniser, history, known)
        if known_context is not None:
            self._looked_up(hits, 0)
            return known_context, known
        if bulk:
            async with self._bulk:
                for start in range(0, len(missing), _BULK_AT_ONCE):
                    await self._tokenised(tokeniser, (), missing[start : start + _BULK_AT_ONCE], known)
            missing = []
        context = await self._tokenised(tokeniser, history, missing, known)
        self._looked_up(hits, len(known) - hits)
        return context, known

    async def _tokenised(
        self, tokeniser: Tokeniser, history: Sequence[str], items: Sequence[str], known: dict[str, TokenIds]
    ) -> TokenIds:
        """The context; what was not known is added to `known` and to the cache."""
        loop = asyncio.get_running_loop()
        context, new = await loop.run_in_executor(self._thread, _tokenise, tokeniser, history, items, known)
        for text, plain in new.items():
            self._cache.put(text, packed_ids(plain))
        known.update(new)
        return context


def _known_context(tokeniser: Tokeniser, history: Sequence[str], known: dict[str, TokenIds]) -> TokenIds | None:
    """The context, unless an entry that may be in it is not known. Those past its end are not asked for."""
    try:
        return tokeniser.context(known[text] for text in history)
    except KeyError:
        return None


def _tokenise(
    tokeniser: Tokeniser, history: Sequence[str], items: Sequence[str], known: dict[str, TokenIds]
) -> tuple[TokenIds, dict[str, TokenIds]]:
    """The context, and the plain ids of all that was not known."""
    new = dict(zip(items, tokeniser.plain(items), strict=True))

    def entries() -> Iterator[TokenIds]:
        for start in range(0, len(history), _ENTRIES_AT_ONCE):
            block = history[start : start + _ENTRIES_AT_ONCE]
            missing = [text for text in dict.fromkeys(block) if text not in known and text not in new]
            new.update(zip(missing, tokeniser.plain(missing), strict=True))
            yield from (known[text] if text in known else new[text] for text in block)

    return tokeniser.context(entries()), new
