"""Identifiers: random ones from an injected source, and names that follow from their parts."""

import hashlib
import random
import secrets
from collections.abc import Callable

IdSource = Callable[[], str]
"""Gives a new identifier of 32 hexadecimal digits at every call."""


def random_ids() -> IdSource:
    """Identifiers from the operating system's randomness."""
    return lambda: secrets.token_hex(16)


def seeded_ids(seed: int) -> IdSource:
    """The same identifiers in the same order for the same seed; for tests and replays only."""
    source = random.Random(seed)
    return lambda: f"{source.getrandbits(128):032x}"


def derived_id(*parts: str) -> str:
    """An identifier of 32 hexadecimal digits that is the same for the same parts.

    Each part goes in with its length in front, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
