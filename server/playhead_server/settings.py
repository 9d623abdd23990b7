"""How a server is to run; validated before anything is opened."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

_LOG_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        recording: The directory to serve; begun where there is none.
        host, port: Where to listen; port 0 picks a free one.
        token: The token with all scopes; None makes one.
        no_auth: No token needed; on loopback only.
        retention_s: Seconds that an event is kept.
        allow_origins: Origins of pages, besides the server's own, that may connect.
        tokens: The file of `playhead_server.tokens`; None for ``tokens.json`` of the recording.
        jwt_secret: HS256 secret of JWTs that are taken as tokens.
        jwks: Path or url of a JWKS for RS256 and ES256.
        max_requests, max_events: How much each token may ask for in a second; 0 for no limit.
        tls_cert, tls_key: PEM files, of the certificate and all above it and of its key, to serve https.
        trusted_proxies: Addresses and networks whose X-Forwarded-For and -Proto count.
        log_format: ``text`` or ``json``, an object a line.
        heartbeat_s, sweep_s: Seconds between heartbeats, and between sweeps of what expired.
        redis_url: The Redis that holds the log of many servers; None for a log of this server alone.
        redis_log: The name of that log; servers with the same one share it.
        redis_wait: Replicas of Redis that must have events before they are acknowledged.
        advertise: The url that the other servers reach this one at.
    """

    recording: Path
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    no_auth: bool = False
    retention_s: float = 30 * 86400.0
    allow_origins: tuple[str, ...] = ()
    log_level: str = "info"
    jwt_secret: str | None = field(default=None, repr=False)
    jwks: str | None = None
    tokens: Path | None = None
    max_requests: float = 0.0
    max_events: float = 0.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    log_format: str = "text"
    root_path: str = ""
    heartbeat_s: float = 15.0
    sweep_s: float = 3600.0
    write_discovery: bool = True
    redis_url: str | None = field(default=None, repr=False)
    redis_log: str = "main"
    redis_wait: int = 0
    advertise: str | None = None

    def __post_init__(self) -> None:
        if not _LOG_NAME.match(self.redis_log):
            raise ValueError(f"--redis-log {self.redis_log[:40]!r} takes 1 to 64 letters, digits, '.', '_' and '-'")
        if self.no_auth and not is_loopback(self.host):
            raise ValueError(f"--no-auth works on loopback only, not on {self.host}: leave it out, or use --host 127.0.0.1")
        if self.jwt_secret is not None and len(self.jwt_secret.encode()) < 32:
            raise ValueError("--jwt-secret has at least 32 bytes (RFC 7518): `openssl rand -hex 32` makes one")
        if self.log_format not in ("text", "json"):
            raise ValueError(f"log format {self.log_format!r} is none of text, json")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together: name both files, or neither")
        if self.max_requests < 0 or self.max_events < 0:
            raise ValueError("--max-requests and --max-events are numbers a second, 0 for no limit")
        for peer in self.trusted_proxies:
            try:
                ipaddress.ip_network(peer, strict=False)
            except ValueError:
                raise ValueError(
                    f"--trusted-proxy {peer[:60]!r} is no address or network such as 10.0.0.7 or 10.0.0.0/8"
                ) from None
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is outside 0-65535")
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or " " in self.token):
            raise ValueError("a token has at least 8 ASCII characters and no spaces; leave it out to have one made")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
