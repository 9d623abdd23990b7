"""
Tokens that are made for people and programs: who holds which, what it allows, until when.

They are in one file, ``tokens.json`` of the recording unless another is named, each only as the SHA-256 of its 256 random bits:
nobody can try them all, so a slow hash would only slow down each request. Whoever changes the file holds ``tokens.lock``;
a server notices a change with the next request, so a token that is revoked is refused at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from playhead.recording.directory import whole
from playhead.times import now

SCOPES = ("publish", "read", "admin")
FILE = "tokens.json"
_PREFIX = "ph_"
_MOST = 10_000
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}\Z")
_log = logging.getLogger("playhead.server")


class Token(msgspec.Struct, frozen=True, rename="camel"):
    """
    One token, without what only its holder knows.

    Attributes:
        id: Its public part, by which it is listed and revoked.
        name: What it is for.
        scopes: Some of `SCOPES`.
        organization_id: The organisation whose events alone it sees and writes; None for all.
        created_at, expires_at: UTC; None never expires.
        sha256: Of the token, in hex.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    organization_id: str | None
    created_at: datetime
    expires_at: datetime | None
    sha256: str


class _Kept(msgspec.Struct, frozen=True):
    version: int
    tokens: list[Token]


class Tokens:
    """The tokens in a file; none where there is no file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._by_id: dict[str, Token] = {}

    def all(self) -> list[Token]:
        """Every one, the oldest first."""
        self._look()
        return list(self._by_id.values())

    def find(self, text: str) -> Token | None:
        """The token that a text is, expired or not; None where it is none of these."""
        if not text.startswith(_PREFIX):
            return None
        self._look()
        found = self._by_id.get(text.removeprefix(_PREFIX).partition("_")[0])
        return found if found is not None and hmac.compare_digest(found.sha256, _hash(text)) else None

    def holds(self, identity: str) -> bool:
        """Whether there is still one with this id."""
        self._look()
        return identity in self._by_id

    def create(
        self, name: str, scopes: Iterable[str], organization_id: str | None, expires_at: datetime | None
    ) -> tuple[str, Token]:
        """A new token, which is never to be seen again, and what is kept of it. Raises ValueError."""
        wanted = set(scopes)
        if unknown := wanted.difference(SCOPES):
            raise ValueError(f"scope {min(unknown)[:40]!r} is none of {', '.join(SCOPES)}")
        if not wanted:
            raise ValueError(f"a token needs a scope: {', '.join(SCOPES)}")
        if not _NAME.match(name):
            raise ValueError("a token's name has 1 to 100 characters and no control characters")
        if organization_id is not None and not _NAME.match(organization_id):
            raise ValueError("an organisation has 1 to 100 characters and no control characters")
        with self._changing() as tokens:
            if len(tokens) >= _MOST:
                raise ValueError(f"there are {_MOST:,} tokens; revoke what is not used, or use JWTs")
            identity = next(one for one in iter(lambda: secrets.token_hex(4), "") if one not in tokens)
            text = f"{_PREFIX}{identity}_{secrets.token_urlsafe(32)}"
            held = tuple(scope for scope in SCOPES if scope in wanted)
            made = Token(identity, name, held, organization_id, now(), expires_at, _hash(text))
            tokens[identity] = made
        return text, made

    def revoke(self, identity: str) -> Token:
        """Take a token back, by its id or the whole of it; raises ValueError where there is none."""
        identity = identity.removeprefix(_PREFIX).partition("_")[0]
        with self._changing() as tokens:
            if identity not in tokens:
                raise ValueError(f"no token has the id {identity[:40]!r}; `playhead token list` shows which there are")
            return tokens.pop(identity)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """The tokens, to be changed by one process at a time; written when the block ends well."""
        try:
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = self._read()
            yield tokens
            with whole(self.path) as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(msgspec.json.format(msgspec.json.encode(_Kept(1, list(tokens.values())))) + b"\n")
        finally:
            os.close(lock)

    def _look(self) -> None:
        """Read the file anew if it has changed; one that cannot be read lets nobody in."""
        try:
            found = os.stat(self.path)
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            self._stamp, self._by_id = None, {}
            return
        if stamp == self._stamp:
            return
        try:
            self._by_id = self._read()
        except ValueError as error:
            _log.error("%s; no token of it is taken", error)
            self._by_id = {}
        self._stamp = stamp

    def _read(self) -> dict[str, Token]:
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise ValueError(f"{self.path} cannot be read as tokens: {error}") from None
        if kept.version != 1:
            raise ValueError(f"{self.path} is of version {kept.version}, and this playhead knows 1: upgrade playhead")
        return {token.id: token for token in kept.tokens}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
