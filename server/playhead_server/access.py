"""
Who may do what: tokens with scopes and an organisation, one-use tickets for browsers, origins.

A token travels in ``Authorization: Bearer`` or ``X-Playhead-Token`` (a Jupyter proxy puts its own value in the former); it is
the server's own, one of `tokens` or a JWT (`jwts`). A browser trades it for a ticket of 30 seconds that a stream or socket
takes once. No token is ever written anywhere.
"""

from __future__ import annotations

import hmac
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from starlette.requests import HTTPConnection

from playhead_server.jwts import InvalidJwt, Jwts
from playhead_server.limits import Limit
from playhead_server.problems import Problem
from playhead_server.settings import Settings
from playhead_server.tokens import FILE, SCOPES, Tokens

TICKET_S = 30.0
_MAX_TICKETS = 10_000


class Grant(NamedTuple):
    """
    What a token allows.

    Attributes:
        scopes: Some of `SCOPES`.
        organization_id: Whose events alone it sees and writes; None for all.
        holder: Who holds it, for limits; nothing secret.
        expires: In seconds since 1970; None for never.
        kept: The id of a token of `Tokens`, which may be revoked.
    """

    scopes: frozenset[str]
    organization_id: str | None = None
    holder: str = ""
    expires: float | None = None
    kept: str | None = None


_ALL = Grant(frozenset(SCOPES))


class Access:
    """Checks tokens, tickets and origins by the settings; raises ValueError where what they name cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self.token = settings.token or secrets.token_urlsafe(32)
        self._settings = settings
        self._tickets: dict[str, tuple[float, Grant]] = {}
        self._tokens = Tokens(settings.tokens or Path(settings.recording) / FILE)
        self._jwts = Jwts(settings.jwt_secret, settings.jwks)
        self._requests = Limit(settings.max_requests, "requests")
        self._events = Limit(settings.max_events, "events")

    def __repr__(self) -> str:
        return "<Access>"

    async def grant(self, connection: HTTPConnection, *, takes_ticket: bool = False) -> Grant | None:
        """What the connection's token allows; None when it carries none. Raises Problem 401 for a bad one."""
        if self._settings.no_auth:
            return _ALL
        token = connection.headers.get("x-playhead-token")
        if token is None:
            scheme, _, value = connection.headers.get("authorization", "").partition(" ")
            token = value.strip() if scheme.lower() == "bearer" and value else None
        if token is not None:
            return await self.check(token)
        ticket = connection.query_params.get("ticket") if takes_ticket else None
        return self._redeem(ticket) if ticket is not None else None

    async def need(self, connection: HTTPConnection, scope: str, *, takes_ticket: bool = False) -> Grant:
        """As `grant`, for a call that needs a scope; counted. Raises Problem 401, 403 or 429."""
        self.check_origin(connection)
        grant = await self.grant(connection, takes_ticket=takes_ticket)
        if grant is None:
            raise _unauthorized("send the server's token as 'Authorization: Bearer …' or 'X-Playhead-Token: …'")
        self.count(grant)
        return self.allowed(grant, scope)

    @staticmethod
    def allowed(grant: Grant, scope: str) -> Grant:
        """The grant, if it has the scope; raises Problem 403."""
        if scope not in grant.scopes:
            raise Problem(403, f"this token lacks the scope '{scope}'; ask for one that has it")
        return grant

    async def check(self, token: str) -> Grant:
        """What a token allows; raises Problem 401."""
        if hmac.compare_digest(token.encode(), self.token.encode()):
            return _ALL
        if (found := self._tokens.find(token)) is not None:
            end = found.expires_at.timestamp() if found.expires_at is not None else None
            if end is not None and end <= time.time():
                raise _unauthorized("this token has expired; ask for a new one")
            return Grant(frozenset(found.scopes), found.organization_id, f"token {found.id}", end, found.id)
        if token.count(".") == 2 and self._jwts.is_used:
            try:
                claims = await self._jwts.read(token)
            except InvalidJwt as error:
                raise _unauthorized(str(error)) from None
            holder = f"jwt {claims.organization_id or ''} {claims.subject}"
            return Grant(claims.scopes.intersection(SCOPES), claims.organization_id, holder, claims.expires)
        raise _unauthorized("this token is not known here; see the discovery file, or what the server was started with")

    def holds(self, grant: Grant) -> bool:
        """Whether a grant, of a connection that stays open, is still one: neither expired nor revoked."""
        is_over = grant.expires is not None and grant.expires <= time.time()
        return not is_over and (grant.kept is None or self._tokens.holds(grant.kept))

    def count(self, grant: Grant, events: int | None = None) -> None:
        """Count a request, or the events of one, against what the token may ask for; raises Problem 429."""
        if events is None:
            self._requests.take(grant.holder)
        else:
            self._events.take(grant.holder, events)

    def ticket(self, grant: Grant) -> tuple[str, datetime]:
        """A ticket that can be used once within 30 seconds, and when it ends."""
        now = time.monotonic()
        if len(self._tickets) >= _MAX_TICKETS:
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
        if end <= time.monotonic() or not self.holds(grant):
            raise _unauthorized("this ticket is used, too old or not known; get a new one from POST /api/tickets")
        return grant


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, {"WWW-Authenticate": 'Bearer realm="playhead"'})
