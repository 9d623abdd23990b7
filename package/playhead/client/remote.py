"""A client of a server."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import httpx

from playhead.client.api import Client
from playhead.client.follow import OnEvents, OnProvisional, OnReset, OnStatus
from playhead.client.http import Http, unavailable
from playhead.client.publisher import Publisher
from playhead.client.query import Answer, Asked
from playhead.client.spill import wire
from playhead.client.status import ConnectionState, State
from playhead.client.stream import Subscription
from playhead.client.transports import wire_filter
from playhead.errors import ServerUnavailable
from playhead.events import MAX_BODY, MAX_EVENTS, Event, Filter, NewEvent
from playhead.state import STATES
from playhead.times import now, time_text

if TYPE_CHECKING:
    import pandas as pd

_BODY = MAX_BODY // 2
_ARROW = "application/vnd.apache.arrow.stream"
_BADNESS = {(state, polls): 2 * rank + polls for rank, state in enumerate(get_args(State)) for polls in (False, True)}


class RemoteClient(Client):
    """The methods of a client over HTTP and WebSocket."""

    def __init__(self, url: str, token: str | None) -> None:
        self._http = Http(url, token)
        self.url = self._http.url
        self._publisher = Publisher(self._http)
        self._lock = threading.Lock()
        self._listeners: list[OnStatus] = []
        self._watches: weakref.WeakSet[Subscription] = weakref.WeakSet()  # those that run, their tasks hold
        self._sentinel: Subscription | None = None
        self._is_closed = False

    def _put(self, event: NewEvent) -> None:
        self._publisher.put(event)

    def flush(self, timeout: float | None = 5.0) -> bool:
        return self._publisher.flush(timeout)

    def _events(self, where: Filter, at: str | None, limit: int | None) -> Asked:
        params = _params(where, at)
        if limit is not None:
            params.append(("limit", str(limit)))

        def count() -> int:
            asked = [(name, value) for name, value in params if name != "limit"]
            answer = self._http.call("GET", "/api/events", params=[*asked, ("limit", "0"), ("total", "true")])
            total = int(answer.json()["pagination"]["total"])
            return total if limit is None else min(total, limit)

        def ask(columns: Sequence[str], after: str | None) -> Answer:
            begin = [] if after is None else [("after", after)]
            return self._arrow("/api/events", [*params, *begin, *(("columns", name) for name in columns)])

        return Asked(ask, count)

    def _arrow(self, path: str, params: list[tuple[str, str]]) -> Answer:
        import pyarrow as pa

        responses = self._http.stream(path, params, _ARROW)
        response = next(responses)
        cursor = response.headers.get("x-playhead-cursor")
        if cursor is None or not response.headers.get("content-type", "").startswith(_ARROW):
            raise ServerUnavailable(self.url, "what answers there is no playhead server")
        reader = pa.ipc.open_stream(pa.PythonFile(_Chunks(response.iter_bytes(), self.url), mode="r"))

        def batches() -> Iterator[pa.RecordBatch]:
            yield from reader
            for _ in responses:  # lets the connection go
                pass

        return Answer(pa.RecordBatchReader.from_batches(reader.schema, batches()), cursor)

    def _executions(self, where: Filter, at: str | None, states: list[str], attempts: str) -> pd.DataFrame:
        from playhead.frames import executions_frame

        params = [*_params(where, at), ("attempts", attempts)] + [("state", state) for state in states]
        answer = self._arrow("/api/executions", params)
        filters = where.describe() | ({"at": at} if at else {}) | ({"state": states} if states else {})
        return executions_frame(answer.reader.read_all(), cursor=answer.cursor, filters=filters)

    def batches(self) -> pd.DataFrame:
        rows = self._http.call("GET", "/api/batches", params={"limit": str(10**9)}).json()["batches"]
        return batches_frame(rows)

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self._http.call("GET", "/api/stats").json()
        return found

    def send(self, events: list[NewEvent]) -> int:
        """Publish at once, past the queue, and wait until it is durable; how many were new."""
        stored, lines, size = 0, [], 0
        for event in events:
            lines.append(wire(event))
            size += len(lines[-1]) + 1
            if size > _BODY or len(lines) == MAX_EVENTS:
                stored += self._post(lines)
                lines, size = [], 0
        return stored + (self._post(lines) if lines else 0)

    def _post(self, lines: list[bytes]) -> int:
        headers = {"Content-Type": "application/x-ndjson"}
        done = self._http.call("POST", "/api/events", content=b"\n".join(lines), headers=headers).json()
        return int(done["accepted"]) - int(done["duplicates"])

    def put(self, events: Iterable[NewEvent]) -> None:
        """Queue events that are valid; returns at once."""
        for event in events:
            self._publisher.put(event)

    @property
    def taken(self) -> int:
        """How many queued events the server took so far, those that an earlier process had left for it included."""
        return self._publisher.taken

    @property
    def lost(self) -> int:
        """How many queued events will never arrive: refused for good, or dropped for want of room; the log says which."""
        return self._publisher.lost

    def page(self, where: Filter, after: str | None, upto: str, size: int) -> tuple[list[Event], str]:
        """At most ``size`` events past ``after`` and up to ``upto``, in log order, and the cursor that reads on from them."""
        from playhead.columns import events_of

        params = [*_params(where, upto), ("limit", str(size))] + ([("after", after)] if after else [])
        table, cursor = self._arrow("/api/events", params).table(size)
        return events_of(table), cursor

    def delete_older(self, than: datetime) -> int:
        """Delete the events with a timestamp before ``than``; how many there were."""
        answer = self._http.call("DELETE", "/api/events", params={"olderThan": time_text(than)})
        return int(answer.json()["deleted"])

    def _watch(
        self, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None, on_reset: OnReset | None,
        polling_interval: float, on_provisional: OnProvisional | None,
    ) -> Subscription:  # fmt: skip
        def told(state: ConnectionState) -> None:
            if on_status is not None:
                on_status(state)
            self._told(state)

        watch = Subscription(
            self._http, where, after, on_events, told, on_reset, polling_interval, on_provisional=on_provisional
        )
        self._watches.add(watch)
        return watch

    @property
    def status(self) -> ConnectionState:
        """The worst state of all that is followed, so that no light is green over a dead stream."""
        running = [watch.status for watch in list(self._watches) if not watch.is_closed]
        why = "closed" if self._is_closed else "nothing is followed yet"
        nothing = ConnectionState("disconnected", "websocket", 0, now(), why)
        return max(running, key=lambda one: _BADNESS[one.state, one.transport == "polling"], default=nothing)

    def on_status(self, callback: OnStatus) -> Callable[[], None]:
        with self._lock:
            self._listeners = [*self._listeners, callback]
            if self._sentinel is None:  # someone wants to know: keep a connection that carries no event
                nothing = Filter.make(type="playhead.none")
                self._sentinel = Subscription(self._http, nothing, "now", lambda events, cursor: None, self._told)
                self._watches.add(self._sentinel)

        def leave() -> None:
            with self._lock:
                self._listeners = [one for one in self._listeners if one is not callback]
                if not self._listeners and self._sentinel is not None:
                    self._sentinel.close()
                    self._sentinel = None

        return leave

    def _told(self, state: ConnectionState) -> None:
        overall = self.status
        for listener in list(self._listeners):
            listener(overall)

    def close(self) -> None:
        self._is_closed = True
        self._publisher.close()
        for watch in list(self._watches):
            watch.close()
        self._http.close()


class _Chunks:
    """Bytes that come in pieces, as a file that can be read; one that breaks off is an error and never a short answer."""

    def __init__(self, pieces: Iterator[bytes], url: str) -> None:
        self._pieces, self._url, self._left, self.closed = pieces, url, b"", False

    def read(self, size: int = -1) -> bytes:
        parts, have = [self._left], len(self._left)
        while size < 0 or have < size:
            try:
                piece = next(self._pieces, None)
            except httpx.HTTPError as error:
                raise ServerUnavailable(self._url, f"the answer broke off ({unavailable(self._url, error).reason})") from error
            if piece is None:
                break
            parts.append(piece)
            have += len(piece)
        text = b"".join(parts)
        cut = len(text) if size < 0 else size
        self._left = text[cut:]
        return text[:cut]

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def _params(where: Filter, at: str | None) -> list[tuple[str, str]]:
    return wire_filter(where) + ([("at", at)] if at else [])


def batches_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Batches as a frame, the same columns for no rows."""
    import pandas as pd

    flat = [
        {"batch_id": row["batchId"]} | {state: row["counts"][state] for state in STATES}
        | {name: row[name] for name in ("executions", "first", "last")}
        for row in rows
    ]  # fmt: skip
    frame = pd.DataFrame(flat, columns=["batch_id", *STATES, "executions", "first", "last"])
    for name in ("first", "last"):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601").dt.as_unit("us")
    return frame.astype({"batch_id": "str"} | dict.fromkeys((*STATES, "executions"), "int64"))
