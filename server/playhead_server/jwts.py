"""
JWTs as tokens: HS256 by a secret, RS256 and ES256 by the keys of a JWKS file or url; claims ``org scope sub exp``.

A key decides the algorithm, never the token: a public key is of one kind and verifies that kind's alone, the secret only
HS256. A file is read again when it has changed, a url every five minutes and when a token names a key that is not known, at
most every thirty seconds; both keep the last keys that could be read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import jwt

SKEW_S = 30.0
_FRESH_S, _SOON_S = 300.0, 30.0
_FETCH_S = 5.0
_KINDS = {"RS256": "RSA", "ES256": "EC"}
_log = logging.getLogger("playhead.server")


class InvalidJwt(ValueError):
    """A JWT that is not taken; the text says why and holds nothing of it."""


class Claims(NamedTuple):
    """What a JWT says; ``expires`` in seconds since 1970, None for never."""

    subject: str
    scopes: frozenset[str]
    organization_id: str | None
    expires: float | None


class Jwts:
    """Reads JWTs by a secret, or the keys at a path or url; raises ValueError where those cannot be read."""

    def __init__(self, secret: str | None, jwks: str | None) -> None:
        self._secret = secret
        is_url = jwks is not None and jwks.partition("://")[0] in ("http", "https")
        self._file = Path(jwks) if jwks is not None and not is_url else None
        self._stamp = self._file_stamp()
        self._keys = [] if self._file is None else _read(self._file)
        self._remote = (
            jwt.PyJWKClient(jwks, cache_jwk_set=False, timeout=_FETCH_S) if is_url and jwks is not None else None
        )
        self._fetched = -2 * _FRESH_S
        self._fetching: asyncio.Task[None] | None = None

    @property
    def is_used(self) -> bool:
        """Whether any JWT is taken."""
        return bool(self._secret or self._file or self._remote)

    async def read(self, token: str) -> Claims:
        """What a JWT says; raises InvalidJwt."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            key = await self._key(algorithm, header.get("kid"))
            claims = jwt.decode(token, key, algorithms=[algorithm], leeway=SKEW_S, options={"verify_aud": False})
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise error if isinstance(error, InvalidJwt) else InvalidJwt(f"this token is not valid: {error}") from None
        scope, organization = claims.get("scope", "read"), claims.get("org")
        words = scope.split() if isinstance(scope, str) else scope
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InvalidJwt("this token's claim 'scope' is neither a string nor a list of them")
        if organization is not None and (not isinstance(organization, str) or not organization):
            raise InvalidJwt("this token's claim 'org' is no string")
        expires = claims.get("exp")
        return Claims(
            str(claims.get("sub", "")), frozenset(words), organization, None if expires is None else float(expires) + SKEW_S
        )

    async def _key(self, algorithm: str, identity: object) -> Any:
        """The key for an algorithm: a secret never verifies what a public key must, nor the other way round."""
        if algorithm == "HS256" and self._secret:
            return self._secret
        if algorithm in _KINDS:
            kind = _KINDS[algorithm]
            if (found := _fitting(await self._current(), kind, identity)) is not None:
                return found.key
            if (found := _fitting(await self._current(lacks_one=True), kind, identity)) is not None:
                return found.key
        raise InvalidJwt("this token's algorithm or key is not taken here")

    async def _current(self, *, lacks_one: bool = False) -> list[jwt.PyJWK]:
        """The keys of this moment; those of a url fetched anew when they are old or lack the one that is wanted."""
        if self._remote is not None:
            age = time.monotonic() - self._fetched
            if age > (_SOON_S if lacks_one or not self._keys else _FRESH_S):
                if self._fetching is None:
                    self._fetching = asyncio.create_task(asyncio.to_thread(self._fetch, self._remote))
                await asyncio.shield(self._fetching)  # one for all who wait
                self._fetching = None
        elif self._file is not None and (stamp := self._file_stamp()) != self._stamp:
            self._stamp = stamp
            try:
                self._keys = _read(self._file)
            except ValueError as error:
                _log.error("%s; the keys before it are still taken", error)
        return self._keys

    def _fetch(self, remote: jwt.PyJWKClient) -> None:
        try:
            self._keys = list(remote.get_signing_keys())
        except jwt.PyJWTError as error:
            _log.warning("%s: %s; the keys before it are still taken", remote.uri, error)
        finally:
            self._fetched = time.monotonic()

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._file) if self._file is not None else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ino) if found is not None else None


def _fitting(keys: list[jwt.PyJWK], kind: str, identity: object) -> jwt.PyJWK | None:
    """The key of a kind with an id; where a token names none, the only one of the kind."""
    fitting = [key for key in keys if key.key_type == kind]
    named = next((key for key in fitting if identity is not None and key.key_id == identity), None)
    return named or (fitting[0] if len(fitting) == 1 and (identity is None or fitting[0].key_id is None) else None)


def _read(file: Path) -> list[jwt.PyJWK]:
    try:
        return list(jwt.PyJWKSet.from_dict(json.loads(file.read_text())).keys)
    except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ValueError(f"{file} cannot be read as a JWKS file: {error}") from None
