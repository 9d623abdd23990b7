"""The way to Redis: one server, a Sentinel's master or a Cluster, by one url; what goes wrong is `Away`, with why."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_TIMEOUT_S, _CONNECT_S = 2.0, 1.0  # the first is longer than what is waited for events
_WAIT_MS = 1_000
_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
_SECRET = re.compile(r"//.*@")
_log = logging.getLogger("playhead.cluster")


class Away(Exception):
    """Redis cannot be reached, or does not do what it is asked; the text says why."""


class _Made:
    """A client; one that is sealed makes no other connection than those it has."""

    def __init__(self, url: str) -> None:
        self.is_sealed = False
        self.client = _connect(url, self._when_connected)

    def _when_connected(self, connection: Any) -> None:
        if self.is_sealed:
            raise redis.ConnectionError("the connection was lost")
        connection.on_connect()


class Link:
    """
    Commands to Redis, from any thread, each tried once: who asks knows whether it may be tried again.

    One that was opened stays with the Redis that it was connected to: after another one took its place, or it began anew with
    less than it had, every command is refused until somebody has looked and opened the link again.

    ``url`` is ``redis://[user:password@]host:port/db`` (``rediss://`` for TLS), ``redis+sentinel://host:port,host:port/master``
    or ``redis+cluster://host:port,host:port``; ``replicas`` is how many replicas must have what `run` writes.
    """

    def __init__(self, url: str, replicas: int = 0) -> None:
        self._url, self._replicas = url, replicas
        self._made: _Made | None = None
        self._is_away = False
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"--redis-url {masked(url)!r} begins with none of {', '.join(f'{one}://' for one in _SCHEMES)}")
        if replicas and parts.scheme.endswith("+cluster"):
            raise ValueError("--redis-wait is not for a Redis Cluster: leave it out, or set min-replicas-to-write there")
        if parts.scheme.endswith("+sentinel") and not parts.path.strip("/"):
            raise ValueError(f"--redis-url {masked(url)!r} names no master: redis+sentinel://host:26379/mymaster")

    def __repr__(self) -> str:
        return f"<Link {masked(self._url)}>"

    def dial(self, key: str) -> _Made:
        """A new client that is connected to who has a key, for `use`."""
        try:
            made = _Made(self._url)
            made.client.execute_command("EXISTS", key)
        except _FAILURES as error:
            raise self._away(error) from error
        made.is_sealed, self._is_away = True, False
        return made

    def use(self, made: _Made | None) -> None:
        """Use a client from now on, or none until one is needed; nobody may be using the one before."""
        before, self._made = self._made, made
        if before is not None:
            before.client.close()

    def call(self, *words: Any) -> Any:
        """One command."""
        try:
            return self._client().execute_command(*words)
        except _FAILURES as error:
            raise self._away(error) from error

    def run(self, script: str, keys: Sequence[str], values: Sequence[Any], *, waits: bool = False) -> list[Any]:
        """A script; with ``waits`` until the replicas have what it did."""
        try:
            client = self._client()
            if not (waits and self._replicas):
                found: list[Any] = client.eval(script, len(keys), *keys, *values)
                return found
            together = client.pipeline(transaction=False)
            together.eval(script, len(keys), *keys, *values)
            together.execute_command("WAIT", self._replicas, _WAIT_MS)
            found, count = together.execute()
        except _FAILURES as error:
            raise self._away(error) from error
        if count < self._replicas:
            raise Away(self._too_few(count))
        return found

    def lacks(self) -> str | None:
        """What is wrong with the replicas that must have what `run` writes; None when they are there."""
        if not self._replicas:
            return None
        said = self.call("INFO", "replication")
        replicas = [said.get(f"slave{n}", {}) for n in range(int(said.get("connected_slaves", 0)))]
        count = sum(one.get("state") == "online" for one in replicas)
        return self._too_few(count) if count < self._replicas else None

    def _too_few(self, count: int) -> str:
        return f"Redis: {count} of the {self._replicas} replicas that --redis-wait wants have it"

    def _client(self) -> Any:
        if self._made is None:
            self._made = _Made(self._url)
        return self._made.client

    def _away(self, error: Exception) -> Away:
        """What clients may know; where Redis is, only the log says, once each time it goes."""
        if not self._is_away:
            self._is_away = True
            _log.warning("Redis at %s: %s", masked(self._url), (str(error) or type(error).__name__).partition("\n")[0])
        if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
            return Away("Redis refuses the user or password of --redis-url")
        if isinstance(error, redis.BusyLoadingError):
            return Away("Redis is loading its file")
        if isinstance(error, redis.TimeoutError | TimeoutError):
            return Away("Redis does not answer")
        if isinstance(error, redis.ResponseError):
            return Away(f"Redis answers: {error}")
        return Away("Redis cannot be reached")


def masked(url: str) -> str:
    """A url without its user and password."""
    return _SECRET.sub("//", url).partition("?")[0]


def _connect(url: str, when_connected: Callable[[Any], None]) -> Any:
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _CONNECT_S, "retry": Retry(NoBackoff(), 0),
        "socket_keepalive": True, "protocol": 2,
        "redis_connect_func": when_connected,
    }  # fmt: skip
    if parts.scheme == "unix":
        options.pop("socket_keepalive")
    if "+" not in parts.scheme:
        return redis.Redis.from_url(url, **options)
    plain, _, kind = parts.scheme.partition("+")
    user, _, places = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    more = options | dict(parse_qsl(parts.query))
    more |= {"ssl": True} if plain == "rediss" else {}
    more |= {"username": unquote(name) or None, "password": unquote(password) or None} if user else {}
    nodes = []
    for place in places.split(","):
        host, _, port = place.rpartition(":")
        nodes.append((host or place, int(port) if host else (26379 if kind == "sentinel" else 6379)))
    if kind == "cluster":
        from redis.cluster import ClusterNode, RedisCluster

        more["retry"] = Retry(NoBackoff(), 1)  # of a slot that has moved, say
        starts = [ClusterNode(*node) for node in nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=starts, **more)
    from redis.sentinel import Sentinel

    master, _, number = parts.path.strip("/").partition("/")
    limits = {key: options[key] for key in ("socket_timeout", "socket_connect_timeout", "retry")}
    sentinel = Sentinel(nodes, sentinel_kwargs=limits, **more)  # type: ignore[no-untyped-call]  # redis has types in part
    return sentinel.master_for(master, db=int(number or 0))  # type: ignore[no-untyped-call]
