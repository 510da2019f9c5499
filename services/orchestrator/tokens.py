"""Signed tokens: what a page hands out and takes back without keeping it.

A token is base64url(body + 16 bytes of keyed BLAKE2b over it; RFC 7693 section 2.9, RFC 4648 section 5); the body is
JSON, in page tokens deflated. (Why not HMAC: a page signs two dozen tokens, and OpenSSL's takes several times as long
over so few bytes.) The first key signs, all keys verify, so that keys can be rotated. Each kind of token is signed
under its own purpose; one cannot pass for the other. Users appear only as keyed hashes.
"""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_MAC_BYTES = 16
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_MOST_BODY = 1 << 21
"""Deflated bodies are not inflated beyond this."""


class TokenError(ValueError):
    """Not a token of ours, or one of another kind."""


@dataclass(frozen=True, slots=True)
class Issue:
    """What all item tokens of a page have in common. `issued_at` in unix seconds."""

    recommendation_id: str
    surface: str
    user: str
    issued_at: int
    recordable: bool


@dataclass(frozen=True, slots=True)
class ItemToken:
    """What feedback needs to know of an item's place."""

    issue: Issue
    item_id: str
    category: str
    position: int


@dataclass(frozen=True, slots=True)
class PageToken:
    """Where the next page goes on: what was shown, for whom and for which request."""

    recommendation_id: str
    user: str
    request: str
    shown: Sequence[str]


class Tokens:
    """Signs and reads tokens with one or more keys of at least 16 bytes."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("token keys must have at least 16 bytes each, and there must be one")
        self._keys = tuple(hashlib.blake2b(key).digest() for key in keys)  # 64 bytes, the most that BLAKE2b takes

    def user_hash(self, name: str) -> str:
        """A user's keyed hash, 16 hexadecimal digits; it changes with the signing key."""
        return self._user_hash(self._keys[0], name)

    def is_user(self, user_hash: str, name: str) -> bool:
        """Whether a hash from a token is that of this user, under any of the keys."""
        return any(hmac.compare_digest(user_hash, self._user_hash(key, name)) for key in self._keys)

    def item_signer(self, issue: Issue) -> Callable[[str, str, int], str]:
        """Signs the tokens of a page's items, given item id, category and position; the rest is written once."""
        before = _json(issue.recommendation_id)
        after = _json([issue.surface, issue.user, issue.issued_at, int(issue.recordable)])

        def sign(item_id: str, category: str, position: int) -> str:
            return self._sign(b"item", f"[{before},{_json(item_id)},{_json(category)},{position},{after[1:]}".encode())

        return sign

    def read_item(self, text: str) -> ItemToken:
        """Raises TokenError when it is not an item token signed with one of the keys."""
        with _our_own_shape():
            body = json.loads(self._verified(b"item", text))
            recommendation_id, item_id, category, position, surface, user, issued_at, recordable = body
        issue = Issue(recommendation_id, surface, user, issued_at, bool(recordable))
        return ItemToken(issue, item_id, category, position)

    def sign_page(self, token: PageToken) -> str:
        """The token of the next page."""
        body = _json([token.recommendation_id, token.user, token.request, list(token.shown)])
        return self._sign(b"page", zlib.compress(body.encode(), 6))

    def read_page(self, text: str) -> PageToken:
        """Raises TokenError when it is not a page token signed with one of the keys."""
        inflater = zlib.decompressobj()
        with _our_own_shape():
            body = inflater.decompress(self._verified(b"page", text), _MOST_BODY)
            recommendation_id, user, request, shown = json.loads(body)
        return PageToken(recommendation_id, user, request, tuple(shown))

    def _sign(self, purpose: bytes, body: bytes) -> str:
        return base64.urlsafe_b64encode(body + _mac(self._keys[0], purpose, body)).rstrip(b"=").decode()

    def _verified(self, purpose: bytes, text: str) -> bytes:
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise TokenError("not a token") from None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, purpose, body)) for key in self._keys):
            raise TokenError("not a token of this service")
        return body

    @staticmethod
    def _user_hash(key: bytes, name: str) -> str:
        return _mac(key, b"user", name.encode())[:8].hex()


@contextmanager
def _our_own_shape() -> Iterator[None]:
    """A token that was signed by a version with other fields is no token of this one."""
    try:
        yield
    except (ValueError, TypeError, zlib.error):
        raise TokenError("a token of another version") from None


def _mac(key: bytes, purpose: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=key, person=purpose).digest()
