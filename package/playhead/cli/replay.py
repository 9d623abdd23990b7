"""``playhead replay``: publish a recording again as if live, at its own pace times a speed."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from playhead.cli.arguments import Target, Token, existing
from playhead.cli.pace import Pace, due
from playhead.client import Client, connect, resume
from playhead.client.jobs import fitting
from playhead.client.query import EventQuery
from playhead.client.remote import RemoteClient
from playhead.columns import events_of
from playhead.errors import AccessDenied, RecordingInUse, ServerUnavailable
from playhead.events import Event, Filter, NewEvent, uuid7s
from playhead.times import now

_PAGE = 2000  # events: what reading so many takes is what others may be late
_AHEAD = 10_000  # events that are handed over before it is waited for the server, so that little waits in its file
_AHEAD_S = 1.0  # and for how long, as it may be away
_PATIENCE_S = 15.0  # at the end, for a server that takes nothing; the publisher tries again within 10 s
_PATIENCE_INTERRUPTED_S = 3.0
_SLICE_S = 0.1  # how soon Ctrl-C is noticed
_READS = 10  # attempts to read a page, some 25 s in all
_EARLIEST_S = -1e9  # 31 years: much older than the first event, a slow replay would leave the years that can be written
_MOST_PREFIX = 64


class _Stop:
    """Whether Ctrl-C was pressed: a flag, so that no group of events is cut in two."""

    is_asked = False

    def wait(self, seconds: float) -> bool:
        """Wait for a part of so many seconds; whether it was pressed."""
        if not self.is_asked:
            time.sleep(min(seconds, _SLICE_S))
        return self.is_asked


def replay(
    recording: Target,
    url: Annotated[
        str | None, typer.Argument(envvar="PLAYHEAD_URL", help="The server to publish into; else the local server.")
    ] = None,
    speed: Annotated[float, typer.Option(help="So many times as fast as it happened: 60 is an hour a minute.")] = 1.0,
    skip_idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait so many seconds at most for the next event.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="This batch only.")] = None,
    prefix: Annotated[
        str, typer.Option(help="Put this before each batch and execution id, for executions apart from all others.")
    ] = "",
    token: Token = None,
    source_token: Annotated[str | None, typer.Option(help="The token of RECORDING, where that is a server.")] = None,
) -> None:
    """
    Publish a recording into a server again, as if live.

    Events go in log order, at their own pace times the speed. They get new
    ids and times and keep all else: replayed a second time, they are next
    attempts of the same executions; a --prefix makes them others. Ctrl-C
    stops it and says how far it came.
    """
    _check(url, speed, skip_idle, prefix)
    with contextlib.ExitStack() as last:
        destination = connect(url, token=token)
        last.callback(destination.close)
        if not isinstance(destination, RemoteClient):
            raise TypeError(f"cannot publish into {destination!r}")
        source = _open(recording, source_token, destination)
        last.callback(source.close)
        count, pages = _contents(source, batch)
        if not count:
            what = "no event" if batch is None else f"no event of batch {batch!r}"
            raise ValueError(f"{recording} holds {what}, so there is nothing to replay")
        stop = last.enter_context(_stopped_by_ctrl_c())
        run = _Run(destination, count, prefix, stop)
        try:
            is_all_there = run.play(pages(stop), Pace(speed, skip_idle))
        except BaseException:
            if run.published:
                print(f"broken off: {run.summary(recording)}")
            raise
        print(f"interrupted: {run.summary(recording)}" if stop.is_asked else run.summary(recording))
        lost = destination.lost
        if lost:
            print(f"playhead: {lost:,} of them will not arrive, as said above", file=sys.stderr)
        if not is_all_there:
            left = "what it has not is kept in a file and sent when something publishes there again"
            print(f"playhead: not all of them have arrived, {destination.url} takes nothing; {left}", file=sys.stderr)
    if stop.is_asked:
        raise typer.Exit(130)
    if lost or not is_all_there:
        raise typer.Exit(1)


def _check(url: str | None, speed: float, skip_idle: float | None, prefix: str) -> None:
    if url is not None and not url.startswith(("http://", "https://")):
        raise ValueError(
            f"{url!r} is no server's url: write http://… or https://…; `playhead import` puts events into a recording"
        )
    if not 0.01 <= speed < math.inf:
        raise ValueError(f"--speed {speed:g}: write a number from 0.01 on, such as 60 for an hour a minute")
    if skip_idle is not None and not 0.001 <= skip_idle < math.inf:
        raise ValueError(f"--skip-idle {skip_idle:g}: write a number of seconds from 0.001 on, such as 2")
    if len(prefix) > _MOST_PREFIX:
        raise ValueError(f"--prefix has {len(prefix)} characters: write {_MOST_PREFIX} at most, such as 'rehearsal/'")


def _open(recording: str, token: str | None, destination: RemoteClient) -> Client:
    """The source; raises ValueError where it is the very log that is published into."""
    same = ValueError(
        f"{recording} is the log that {destination.url} holds: `playhead export {destination.url} copy.parquet`, "
        "then replay that"
    )
    try:
        source = connect(existing(recording), token=token)
    except RecordingInUse as error:
        if error.url is not None and error.url.rstrip("/") == destination.url:
            raise same from None
        raise
    if isinstance(source, RemoteClient) and _is_same(source, destination):
        source.close()
        raise same
    return source


def _is_same(source: RemoteClient, destination: RemoteClient) -> bool:
    """Whether two servers hold one log; a server may have several names."""
    if source.url == destination.url:
        return True
    with contextlib.suppress(AccessDenied):  # a token that may only publish there
        return bool(source.stats()["epoch"] == destination.stats()["epoch"])
    return False


def _contents(source: Client, batch: str | None) -> tuple[int, Callable[[_Stop], Generator[list[Event]]]]:
    """How many events there are to replay, and what reads them in log order, a page at a time."""
    if not isinstance(source, RemoteClient):
        query = source.events(batch_id=batch)
        return query.count(), lambda stop: _slices(query)
    figures = source.stats()
    head = f"{figures['epoch']}:{figures['head']}"  # what comes after is not replayed
    count = source.events(batch_id=batch, at=head).count()
    return count, lambda stop: _pages(source, Filter.make(batch_id=batch), head, stop)


def _slices(query: EventQuery) -> Generator[list[Event]]:
    with query.to_reader() as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, _PAGE):
                yield events_of(batch.slice(start, _PAGE))


def _pages(source: RemoteClient, where: Filter, upto: str, stop: _Stop) -> Generator[list[Event]]:
    """A request for each page: a reader that holds an answer open and takes nothing from it is cut."""
    after, attempt = None, 0
    while True:
        try:
            events, after = source.page(where, after, upto, _PAGE)
        except ServerUnavailable:
            attempt += 1
            if attempt == _READS:
                raise
            end = time.monotonic() + resume.wait_s(attempt)
            while (left_s := end - time.monotonic()) > 0:
                if stop.wait(left_s):
                    return
            continue
        attempt = 0
        yield events
        if len(events) < _PAGE:
            return


@contextlib.contextmanager
def _stopped_by_ctrl_c() -> Iterator[_Stop]:
    """The first Ctrl-C asks to stop, a second one interrupts at once."""
    stop = _Stop()
    before = signal.getsignal(signal.SIGINT)

    def told(number: int, frame: FrameType | None) -> None:
        stop.is_asked = True
        signal.signal(signal.SIGINT, before)

    if before != signal.SIG_IGN:  # as it is for what runs in the background of a shell
        signal.signal(signal.SIGINT, told)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class _Run:
    """
    One replay into a server.

    Attributes:
        published: Events that were handed over so far.
    """

    def __init__(self, destination: RemoteClient, count: int, prefix: str, stop: _Stop) -> None:
        self._destination, self._count, self._prefix, self._stop = destination, count, prefix, stop
        self.published = 0
        self._ahead = 0
        self._began, self._start = time.monotonic(), now()

    def play(self, pages: Generator[list[Event]], pace: Pace) -> bool:
        """Publish until all is published or it is stopped; whether all that was published has arrived."""
        console = Console(stderr=True)
        text = "{task.completed:,} of {task.total:,} events  {task.fields[moment]}  {task.fields[note]}"
        columns = BarColumn(), TextColumn(text, markup=False)
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        with bar as progress, contextlib.closing(pages):
            task = progress.add_task("", total=self._count, moment="", note="")

            def wait(seconds: float) -> bool:
                progress.update(task, note=f"next in {seconds:,.0f} s" if seconds > 2 else "")
                return self._stop.wait(seconds)

            self._began, self._start = time.monotonic(), now()
            for group in due(pages, pace, self._elapsed_s, wait):
                self._publish(group)
                progress.update(task, completed=self.published, moment=f"{group[-1][0].timestamp:%Y-%m-%d %H:%M:%SZ}")
                if self._stop.is_asked:
                    break
            progress.update(task, note=f"waiting for {self._destination.url}")
            return self._drain()

    def summary(self, recording: str) -> str:
        """How many events went where."""
        some = f"{self.published:,} of {self._count:,}" if self.published < self._count else f"{self.published:,}"
        return f"{some} events of {recording} replayed into {self._destination.url} in {self._elapsed_s():,.1f} s"

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _publish(self, group: list[tuple[Event, float]]) -> None:
        ids = uuid7s(len(group))
        events = [self._again(event, bears_s, identity) for (event, bears_s), identity in zip(group, ids, strict=True)]
        if self.published:
            self._destination.put(events)
        else:
            self._destination.send(events)  # a wrong url or token is said at once, and nothing waits in a file for it
        self.published += len(events)
        self._ahead += len(events)
        if self._ahead >= _AHEAD:
            self._destination.flush(_AHEAD_S)
            self._ahead = 0

    def _again(self, event: Event, bears_s: float, identity: str) -> NewEvent:
        execution_id, batch_id = event.execution_id, event.batch_id
        if self._prefix:
            if execution_id is not None or event.job_id is not None:  # jobs without executions would meet
                execution_id = fitting(self._prefix + (execution_id or ""))
            if batch_id is not None:
                batch_id = fitting(self._prefix + batch_id)
        timestamp = self._start + timedelta(seconds=max(bears_s, _EARLIEST_S))
        return NewEvent(identity, event.type, timestamp, execution_id, batch_id, event.job_id, None, event.data)

    def _drain(self) -> bool:
        """Wait while the server takes what was published; False when it takes nothing any more."""
        taken, since = self._destination.taken, time.monotonic()
        while not self._destination.flush(_SLICE_S):
            if self._destination.taken != taken:
                taken, since = self._destination.taken, time.monotonic()
            elif time.monotonic() - since > (_PATIENCE_INTERRUPTED_S if self._stop.is_asked else _PATIENCE_S):
                return False
        return True
