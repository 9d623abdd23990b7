"""`AsyncClient`: the same methods, awaited. What blocks runs in a thread; what follows is fed into the caller's loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from playhead.client.follow import AsyncFollow, Watch
from playhead.client.jobs import Batch, Job
from playhead.client.query import EventQuery
from playhead.client.status import ConnectionState
from playhead.client.target import connect
from playhead.events import Event

if TYPE_CHECKING:
    import pandas as pd

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Done:
    """What is done when it is returned."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


def _awaited(
    method: Callable[Concatenate[EventQuery, _P], _T],
) -> Callable[Concatenate[AsyncEventQuery, _P], Coroutine[Any, Any, _T]]:
    async def awaited(self: AsyncEventQuery, /, *args: _P.args, **options: _P.kwargs) -> _T:
        return await asyncio.to_thread(method, self._query, *args, **options)

    awaited.__name__, awaited.__doc__ = method.__name__, f"As `EventQuery.{method.__name__}`."
    return awaited


class AsyncEventQuery:
    """As `EventQuery`; what reads is awaited."""

    def __init__(self, query: EventQuery) -> None:
        self._query = query

    def __repr__(self) -> str:
        return repr(self._query).replace("EventQuery", "AsyncEventQuery")

    to_pandas = _awaited(EventQuery.to_pandas)
    to_arrow = _awaited(EventQuery.to_arrow)
    to_polars = _awaited(EventQuery.to_polars)
    to_duckdb = _awaited(EventQuery.to_duckdb)
    to_parquet = _awaited(EventQuery.to_parquet)
    to_csv = _awaited(EventQuery.to_csv)
    to_ndjson = _awaited(EventQuery.to_ndjson)
    count = _awaited(EventQuery.count)
    executions = _awaited(EventQuery.executions)
    state_at = _awaited(EventQuery.state_at)
    batches = _awaited(EventQuery.batches)
    concurrency = _awaited(EventQuery.concurrency)
    throughput = _awaited(EventQuery.throughput)
    durations = _awaited(EventQuery.durations)
    steps = _awaited(EventQuery.steps)
    retries = _awaited(EventQuery.retries)
    errors = _awaited(EventQuery.errors)
    stalled = _awaited(EventQuery.stalled)
    critical_path = _awaited(EventQuery.critical_path)
    event_log = _awaited(EventQuery.event_log)

    async def compare(
        self, other: AsyncEventQuery | pd.DataFrame, by: str | None = None, *, least: float = 0.1
    ) -> pd.DataFrame:
        """As `EventQuery.compare`."""
        theirs = other._query if isinstance(other, AsyncEventQuery) else other
        return await asyncio.to_thread(self._query.compare, theirs, by, least=least)

    async def __aiter__(self) -> AsyncIterator[Event]:
        groups = self._query.groups()
        while (group := await asyncio.to_thread(next, groups, None)) is not None:
            for event in group:
                yield event


class AsyncClient:
    """A client for code that awaits; ``async with AsyncClient(url) as client: …``."""

    def __init__(self, target: str | os.PathLike[str] | None = None, *, token: str | None = None) -> None:
        self._client = connect(target, token=token)

    def __repr__(self) -> str:
        return f"<AsyncClient {self.url}>"

    @property
    def url(self) -> str:
        """The server's address, or the recording's path."""
        return self._client.url

    @property
    def status(self) -> ConnectionState:
        """What is known of the connection."""
        return self._client.status

    def publish(self, events: Mapping[str, Any] | Event | Iterable[Mapping[str, Any] | Event]) -> _Done:
        """As `Client.publish`, which never waits; it may be awaited like the others, and need not be."""
        self._client.publish(events)
        return _Done()

    def batch(self, batch_id: str, **data: Any) -> Batch:
        """As `Client.batch`."""
        return self._client.batch(batch_id, **data)

    def job(self, job_id: str, **options: Any) -> Job:
        """As `Client.job`."""
        return self._client.job(job_id, **options)

    def events(self, **filters: Any) -> AsyncEventQuery:
        """As `Client.events`: ``await client.events(…).to_pandas()``, or ``async for event in client.events(…)``."""
        return AsyncEventQuery(self._client.events(**filters))

    async def executions(self, **filters: Any) -> pd.DataFrame:
        """As `Client.executions`."""
        return await asyncio.to_thread(lambda: self._client.executions(**filters))

    async def batches(self) -> pd.DataFrame:
        """As `Client.batches`."""
        return await asyncio.to_thread(self._client.batches)

    async def stats(self) -> dict[str, Any]:
        """As `Client.stats`."""
        return await asyncio.to_thread(self._client.stats)

    def watch(self, **options: Any) -> Watch:
        """As `Client.watch`: its callbacks run in another thread."""
        return self._client.watch(**options)

    async def flush(self, timeout: float | None = 5.0) -> bool:
        """As `Client.flush`."""
        return await asyncio.to_thread(self._client.flush, timeout)

    def follow(self, **options: Any) -> AsyncFollow:
        """As `Client.follow`: ``async for event in client.follow(…)``."""
        return AsyncFollow(
            lambda on_events, on_status: self._client.watch(on_events=on_events, on_status=on_status, **options)
        )

    async def close(self) -> None:
        """As `Client.close`."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
