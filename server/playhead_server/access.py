"""
Who may do what: tokens with scopes and an organisation, one-use tickets for browsers, origins.

A token travels in ``Authorization: Bearer`` or ``X-Playhead-Token`` (a Jupyter proxy puts its own value in the former);
a browser trades it for a ticket of 30 seconds that a stream or socket takes once. No token is ever written anywhere.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import jwt
from starlette.requests import HTTPConnection

from playhead_server.problems import Problem
from playhead_server.settings import Settings

SCOPES = frozenset({"publish", "read", "admin"})
TICKET_S = 30.0
_MAX_TICKETS = 10_000


class Grant(NamedTuple):
    """What a token allows; ``organization_id`` None is not held to one."""

    scopes: frozenset[str]
    organization_id: str | None = None


_ALL = Grant(SCOPES)


class Access:
    """Checks tokens, tickets and origins by the settings."""

    def __init__(self, settings: Settings) -> None:
        self.token = settings.token or secrets.token_urlsafe(32)
        self._settings = settings
        self._tickets: dict[str, tuple[float, Grant]] = {}
        self._keys = _read_jwks(settings)

    def __repr__(self) -> str:
        return "<Access>"

    def grant(self, connection: HTTPConnection, *, takes_ticket: bool = False) -> Grant | None:
        """What the connection's token allows; None when it carries none. Raises Problem 401 for a bad one."""
        if self._settings.no_auth:
            return _ALL
        token = connection.headers.get("x-playhead-token")
        if token is None:
            scheme, _, value = connection.headers.get("authorization", "").partition(" ")
            token = value.strip() if scheme.lower() == "bearer" and value else None
        if token is not None:
            return self.check(token)
        ticket = connection.query_params.get("ticket") if takes_ticket else None
        return self._redeem(ticket) if ticket is not None else None

    def need(self, connection: HTTPConnection, scope: str, *, takes_ticket: bool = False) -> Grant:
        """As `grant`, for a call that needs a scope; raises Problem 401 or 403."""
        self.check_origin(connection)
        grant = self.grant(connection, takes_ticket=takes_ticket)
        if grant is None:
            raise _unauthorized("send the server's token as 'Authorization: Bearer …' or 'X-Playhead-Token: …'")
        return self.allowed(grant, scope)

    @staticmethod
    def allowed(grant: Grant, scope: str) -> Grant:
        """The grant, if it has the scope; raises Problem 403."""
        if scope not in grant.scopes:
            raise Problem(403, f"this token lacks the scope '{scope}'; ask for one that has it")
        return grant

    def check(self, token: str) -> Grant:
        """What a token allows; raises Problem 401."""
        if hmac.compare_digest(token.encode(), self.token.encode()):
            return _ALL
        if token.count(".") == 2 and (self._settings.jwt_secret or self._keys):
            return self._check_jwt(token)
        raise _unauthorized("this token is not known here; see the discovery file, or what the server was started with")

    def ticket(self, grant: Grant) -> tuple[str, datetime]:
        """A ticket that can be used once within 30 seconds, and when it ends."""
        now = time.monotonic()
        self._tickets = {key: value for key, value in self._tickets.items() if value[0] > now}
        if len(self._tickets) >= _MAX_TICKETS:
            raise Problem(429, "too many tickets are waiting to be used", {"Retry-After": "30"})
        ticket = secrets.token_urlsafe(24)
        self._tickets[ticket] = (now + TICKET_S, grant)
        return ticket, datetime.now(UTC) + timedelta(seconds=TICKET_S)

    def check_origin(self, connection: HTTPConnection) -> None:
        """A page of another site may not use this server; raises Problem 403."""
        origin = connection.headers.get("origin")
        if origin is None or origin in self._settings.allow_origins:
            return
        _, _, site = origin.partition("://")
        if site.lower() != connection.headers.get("host", "").lower():
            raise Problem(403, f"pages of {origin[:200]} may not connect; allow them with --allow-origin")

    def _redeem(self, ticket: str) -> Grant:
        end, grant = self._tickets.pop(ticket, (0.0, _ALL))
        if end <= time.monotonic():
            raise _unauthorized("this ticket is used, too old or not known; get a new one from POST /api/tickets")
        return grant

    def _check_jwt(self, token: str) -> Grant:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            key = self._key(algorithm, header.get("kid"))
            claims = jwt.decode(token, key, algorithms=[algorithm], leeway=30, options={"verify_aud": False})
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise _unauthorized(f"this token is not valid: {error}") from None
        scope, organization = claims.get("scope", "read"), claims.get("org")
        words = scope.split() if isinstance(scope, str) else scope
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise _unauthorized("this token's claim 'scope' is neither a string nor a list of them")
        if organization is not None and (not isinstance(organization, str) or not organization):
            raise _unauthorized("this token's claim 'org' is no string")
        return Grant(SCOPES.intersection(words), organization)

    def _key(self, algorithm: str, identity: object) -> Any:
        """The key for an algorithm: a secret never verifies what a public key must, nor the other way round."""
        if algorithm == "HS256" and self._settings.jwt_secret:
            return self._settings.jwt_secret
        kind = {"RS256": "RSA", "ES256": "EC"}.get(algorithm)
        fitting = [key for key in self._keys if key.key_type == kind]
        found = next((key for key in fitting if key.key_id == identity), fitting[0] if len(fitting) == 1 else None)
        if found is None:
            raise _unauthorized("this token's algorithm or key is not taken here")
        return found.key


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": 'Bearer realm="playhead"'})


def _read_jwks(settings: Settings) -> list[jwt.PyJWK]:
    if settings.jwks is None:
        return []
    try:
        return list(jwt.PyJWKSet.from_dict(json.loads(settings.jwks.read_text())).keys)
    except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ValueError(f"{settings.jwks} cannot be read as a JWKS file: {error}") from None
