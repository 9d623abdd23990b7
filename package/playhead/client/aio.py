"""`AsyncClient`: the same methods, awaited. What blocks runs in a thread; what follows is fed into the caller's loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from playhead.client.connect import connect
from playhead.client.jobs import Batch, Job
from playhead.client.query import EventQuery
from playhead.client.status import ConnectionState
from playhead.events import Event

if TYPE_CHECKING:
    import pandas as pd


class AsyncClient:
    """A client for code that awaits; ``async with AsyncClient(url) as client: …``."""

    def __init__(self, target: str | os.PathLike[str] | None = None, *, token: str | None = None) -> None:
        self._client = connect(target, token=token)

    @property
    def url(self) -> str:
        """The server's address, or the recording's path."""
        return self._client.url

    @property
    def status(self) -> ConnectionState:
        """What is known of the connection."""
        return self._client.status

    def publish(self, events: Mapping[str, Any] | Event | Iterable[Mapping[str, Any] | Event]) -> None:
        """As `Client.publish`, which never waits."""
        self._client.publish(events)

    def batch(self, batch_id: str, **data: Any) -> Batch:
        """As `Client.batch`."""
        return self._client.batch(batch_id, **data)

    def job(self, job_id: str, **options: Any) -> Job:
        """As `Client.job`."""
        return self._client.job(job_id, **options)

    def events(self, **filters: Any) -> EventQuery:
        """As `Client.events`; read it with ``await asyncio.to_thread(query.to_pandas)``."""
        return self._client.events(**filters)

    async def executions(self, **filters: Any) -> pd.DataFrame:
        """As `Client.executions`."""
        return await asyncio.to_thread(lambda: self._client.executions(**filters))

    async def batches(self) -> pd.DataFrame:
        """As `Client.batches`."""
        return await asyncio.to_thread(self._client.batches)

    async def flush(self, timeout: float | None = 5.0) -> bool:
        """As `Client.flush`."""
        return await asyncio.to_thread(self._client.flush, timeout)

    async def follow(self, **options: Any) -> AsyncIterator[Event]:
        """As `Client.follow`; leaving the loop ends it."""
        loop = asyncio.get_running_loop()
        box: asyncio.Queue[list[Event]] = asyncio.Queue()

        def take(events: list[Event], cursor: str) -> None:
            loop.call_soon_threadsafe(box.put_nowait, events)

        def told(state: ConnectionState) -> None:
            loop.call_soon_threadsafe(box.put_nowait, [])

        watch = self._client.watch(on_events=take, on_status=told, **options)
        try:
            while True:
                for event in await box.get():
                    yield event
                if watch.error is not None and box.empty():
                    raise watch.error
        finally:
            watch.close()

    async def close(self) -> None:
        """As `Client.close`."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
