"""Batches and jobs as an engineer writes them: ``with client.batch(…) as batch: with batch.job(…) as job: …``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from playhead.errors import InvalidEvent
from playhead.events import MAX_ID, checked_data, uuid7

if TYPE_CHECKING:
    from concurrent.futures import Future

Emit = Callable[[dict[str, Any]], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_TICK_S = 0.25
_ERROR = 4000
_SMALL = 4096
_encode = msgspec.json.Encoder().encode


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def fitting(name: object) -> str:
    """An id as the log takes it: text of 1 to 256 characters; a longer one is cut and told apart by its digest."""
    text = _said(name).encode(errors="replace").decode() or "?"
    if len(text) <= MAX_ID:
        return text
    return f"{text[: MAX_ID - 17]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _said(value: object) -> str:
    """``str(value)``, which may fail in code that is not ours."""
    try:
        return value if isinstance(value, str) else str(value)
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _failure(error: BaseException | str) -> str:
    return _said(error)[:_ERROR] if isinstance(error, str) else f"{type(error).__name__}: {_said(error)}"[:_ERROR]


def tamed(data: dict[str, Any]) -> dict[str, Any]:
    """
    What of ``data`` can be published, with a ``message`` about the rest.

    A job's start and end must reach the log even when what it says with them cannot.
    """
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name, value in data.items():
        try:
            if len(_encode(checked_data({name: value}, 0))) > _SMALL:
                raise ValueError(f"{name} is too large beside the rest")
            kept[name] = value
        except (InvalidEvent, ValueError, TypeError):
            left_out.append(_said(name)[:80])
    return kept | {"message": f"left out, as it cannot be published: {', '.join(left_out)}"[:_ERROR]}


class Job:
    """One execution of a job; its end is told when the block ends, a failure with its error."""

    def __init__(
        self, emit: Emit, job_id: str, batch_id: str | None, execution_id: str | None, about: dict[str, Any]
    ) -> None:
        self.job_id = fitting(job_id)
        self.batch_id = None if batch_id is None else fitting(batch_id)
        self.execution_id = uuid7() if execution_id is None else fitting(execution_id)
        self._emit, self._about = emit, about
        self._is_ended = False
        self.is_started = False

    def _say(self, kind: str, data: dict[str, Any]) -> None:
        self._emit(
            {
                "type": kind,
                "executionId": self.execution_id,
                "batchId": self.batch_id,
                "jobId": self.job_id,
                "data": data,
            }
        )

    def start(self) -> Self:
        """Say that it starts; the block does it by itself."""
        self.is_started = True
        self._say("job_started", self._about)
        return self

    def progress(
        self, percentage: float | None = None, *, step: str | None = None, url: str | None = None, **data: Any
    ) -> None:
        """Say how far it is (0-100), and where; returns at once and never raises because of the server."""
        self._say("job_progress", _known(progressPercentage=percentage, currentStep=step, currentUrl=url) | data)

    def log(self, message: str, **data: Any) -> None:
        """Say something about it."""
        self._say("job_log", {"message": message} | data)

    def complete(self, result: Any = None, **data: Any) -> None:
        """Say that it is done; the block does it by itself."""
        self._end("job_completed", _known(result=result) | data)

    def fail(self, error: BaseException | str, **data: Any) -> None:
        """Say that it failed; the block does it by itself when an exception leaves it."""
        self._end("job_failed", {"error": _failure(error)} | data)

    def cancel(self, **data: Any) -> None:
        """Say that it was cancelled."""
        self._end("job_cancelled", data)

    def _end(self, kind: str, data: dict[str, Any]) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._say(kind, data)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.complete()
        elif isinstance(error, KeyboardInterrupt | GeneratorExit):
            self.cancel(error=type(error).__name__)
        else:
            self.fail(error)


class Batch:
    """A group of jobs; ``batch_started`` and ``batch_completed`` frame it."""

    def __init__(self, emit: Emit, batch_id: str, about: dict[str, Any]) -> None:
        self.batch_id = fitting(batch_id)
        self._emit, self._about = emit, about

    def job(
        self, job_id: str, *, goal: str | None = None, site_url: str | None = None, site_name: str | None = None,
        execution_id: str | None = None, **data: Any,
    ) -> Job:  # fmt: skip
        """A job of this batch, to be used as a block."""
        about = _known(goal=goal, siteUrl=site_url, siteName=site_name) | data
        return Job(self._emit, job_id, self.batch_id, execution_id, about)

    def track(self, items: Iterable[_Item], name: str = "track", total: int | None = None) -> Iterator[_Item]:
        """Go through items as one job of this batch; progress is told a few times a second at most."""
        if total is None:
            total = len(items) if isinstance(items, Sized) else None
        with self.job(name) as job:
            due = time.monotonic() + _TICK_S
            clock = time.monotonic
            done = 0
            for item in items:
                yield item
                done += 1
                if clock() >= due:
                    job.progress(100 * done / total if total else None, done=done)
                    due = clock() + _TICK_S
            job.progress(100, done=done)

    def map(
        self, work: Callable[[_Item], _Result], items: Iterable[_Item], *, executor: Executor | None = None,
        name: Callable[[_Item], str] = str,
    ) -> Iterator[_Result]:  # fmt: skip
        """
        ``work(item)`` for each, a job each, results in the order of the items.

        With an executor, jobs are *queued* when submitted and *running* when a worker has them; the first exception is
        raised when its place is reached, as ``Executor.map`` does.
        """
        if executor is None:
            for item in items:
                with self.job(name(item)):
                    result = work(item)
                yield result
            return
        waiting: dict[Future[_Result], Job] = {}
        order: list[Future[_Result]] = []
        for item in items:
            job = self.job(name(item))
            job._say("job_queued", job._about)
            future = executor.submit(work, item)
            waiting[future] = job
            order.append(future)
        left = set(order)
        while left:
            done, left = wait(left, _TICK_S, FIRST_COMPLETED)
            for future in left:
                if future.running() and not waiting[future].is_started:
                    waiting[future].start()
            for future in done:
                job, error = waiting[future], future.exception()
                if not job.is_started:
                    job.start()
                if error is None:
                    job.complete()
                else:
                    job.fail(error)
        for future in order:
            yield future.result()

    def __enter__(self) -> Self:
        self._emit({"type": "batch_started", "batchId": self.batch_id, "data": self._about})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        data = {"error": _failure(error)} if error is not None else {}
        self._emit({"type": "batch_completed", "batchId": self.batch_id, "data": data})
