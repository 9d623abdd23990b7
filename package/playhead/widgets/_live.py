"""
How a widget speaks to the page while the kernel is busy.

One thread a widget sends, and nothing else does: what changed, at once when it was quiet and at most 20 times a second and
500 KB a second under load, always under the widget's lock, so the order of the messages is the order of what happened. No
trait is assigned from a thread. The trait ``page`` is never assigned either: it is *serialised* when a page asks for the
state, and is the whole as of then, so a page that is reloaded needs no word from the kernel's main thread. Messages are::

    {"kind": "rows" | "status" | "beat", "log": n, "lag": n | null, "status"?: {…}, "notice"?: "…", …the widget's own}, buffers
    {"kind": "new" | "again"} or {"kind": "have", "log": n, …}    from the page: tell the whole; this much has arrived

A beat every 2 s tells the page that the kernel is there; a page that hears nothing says so. What a page missed while it
loaded is sent again whole: by the clock in a widget's first seconds until a page says what it has, and whenever one asks.

An event crosses about six threads' waits for the interpreter on its way, each as long as the switch interval while a cell
computes. So while a widget is open that interval is 1 ms instead of Python's 5: publish to cell p99 107 -> 59 ms at 100
events/s beside a busy loop, p50 44 -> 32 (tests/benchmarks/bench_cell.py). The loop is not measurably slower by it; a cell
that itself publishes 100 events/s to a server in the same kernel takes 5 % longer.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import traitlets

from playhead.client.status import ConnectionState
from playhead.times import now
from playhead.widgets._shown import Shown

_STATIC = Path(__file__).parent / "static"
_TICK_S = 0.05
_BYTES_A_S = 500_000
_SWITCH_S = 0.001
_BEAT_S = 2.0
_WHOLE_AFTER_S = (0.7, 2.5, 6.0, 20.0)  # a page takes that long to load a widget's module; what was sent before is lost to it
_log = logging.getLogger("playhead.widgets")
Part = tuple[dict[str, Any], list[bytes]]


def built(name: str) -> str:
    """A file of ``static/``."""
    return (_STATIC / name).read_text(encoding="utf-8")


class _Turns:
    """The interpreter's switch interval, short while anything holds it so; then as it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before = 0.0

    def hold(self) -> None:
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(_SWITCH_S, self._before))

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                sys.setswitchinterval(self._before)


_turns = _Turns()


class LiveWidget(Shown):
    """A widget with a thread that tells the page what changed; its subclasses say what that is."""

    _css = built("theme.css")
    page = traitlets.Int(0).tag(sync=True, to_json=lambda value, widget: widget._whole(), from_json=lambda value, widget: 0)
    _over: threading.Event | None = None

    def __init__(self, url: str, **traits: Any) -> None:
        self._begin_showing()
        self._wake, self._over = threading.Event(), threading.Event()
        self._url = url
        self._status = ConnectionState("reconnecting", "websocket", 0, now(), "connecting")
        self._notice = ""
        self._log_number = 0  # counts the logs seen: the page drops what it has of another one
        self._is_news = False
        self._maker = threading.current_thread()
        began = time.monotonic()
        self._wholes = [began + after for after in _WHOLE_AFTER_S]
        self._beat_at = began + _BEAT_S
        self._may_send_at = began
        self._is_pumped = False
        self._is_catching_up = False  # what a history holds is told as fast as it is read
        super().__init__(**traits)
        self.on_msg(self._heard)
        self._speaker = threading.Thread(target=self._speak, name=f"playhead-{type(self).__name__}", daemon=True)
        self._threads = [self._speaker]
        _turns.hold()
        self._speaker.start()
        _open.add(self)
        atexit.unregister(_end_all)
        atexit.register(_end_all)  # before what was there earlier ends: the client, and the recording below it

    @property
    def connection(self) -> ConnectionState:
        """What the widget knows of its connection."""
        return self._status

    # what a subclass says

    def _rows(self) -> dict[str, Any]:
        """What the whole holds beside the status; ``pieces`` are runs of bytes, deflated where that is worth it."""
        return {}

    def _part(self) -> Part | None:
        """What changed since the last call, as fields and buffers of a message; None when nothing did."""
        return None

    def _extent(self) -> dict[str, Any]:
        """How much was sent, so that a page notices what it missed."""
        return {}

    def _answer(self, content: dict[str, Any]) -> None:
        """A page asks for something of the widget's own; in the kernel's main thread."""

    def _leave(self) -> None:
        """Stop listening to the client."""

    # speaking

    def _told(self, state: ConnectionState) -> None:
        with self._guard:
            self._status = state
            self._is_news = True
        self._wake.set()

    def _state(self) -> dict[str, Any]:
        state = self._status
        return {
            "status": {
                "state": state.state, "transport": state.transport, "attempt": state.attempt, "url": self._url,
                "since": state.since.timestamp() * 1000, "detail": state.detail, "interval": self._polling_interval(),
                "lag": self._lag(), "degraded": state.degraded,
            },
            "notice": self._notice,
        }  # fmt: skip

    def _polling_interval(self) -> float | None:
        return None

    def _lag(self) -> int | None:
        """How many events of the log lie between what was read and its head, as far as known."""
        return None

    def _whole(self) -> dict[str, Any]:
        with self._guard:
            return {"log": self._log_number, "time": time.time() * 1000} | self._state() | self._rows()

    def _speak(self) -> None:
        over = self._over
        assert over is not None
        while not over.is_set():
            due = min([self._beat_at, *self._wholes, *([self._table_due()] if self._is_table_old else [])])
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            if self._is_forsaken():
                self.close()
            elif not self._is_pumped:
                self._try_to_say()
            over.wait(max(_TICK_S, self._may_send_at - time.monotonic()))

    def _try_to_say(self) -> None:
        try:
            with self._guard:
                if self._over is not None and not self._over.is_set():
                    self._say_what_is_due(time.monotonic())
        except Exception:
            _log.exception("a %s could not tell its page; it tries again", type(self).__name__)

    def _say_what_is_due(self, at: float) -> None:
        part = self._part()
        if part is not None or self._is_news or at >= self._beat_at:
            fields, buffers = part or ({}, [])
            kind = "rows" if part else "status" if self._is_news else "beat"
            news = self._state() if self._is_news else {}
            self._is_news = False
            self._beat_at = at + _BEAT_S
            told = {"kind": kind, "log": self._log_number, "lag": self._lag()}
            self.send(told | news | self._extent() | fields, buffers=buffers)
            self._may_send_at = at + (0 if self._is_catching_up else sum(map(len, buffers)) / _BYTES_A_S)
        if part is not None:
            self._quiet_at, self._is_table_old = at, True
        if any(at >= due for due in self._wholes):
            self._wholes = [due for due in self._wholes if at < due]
            self.send_state("page")
        if self._is_table_old and at >= self._table_due():
            self._tell_table()

    def _is_forsaken(self) -> bool:
        """Whether the host let go of it without closing it, as marimo does when a cell runs again or a visitor leaves."""
        comm = self.comm
        if not type(comm).__module__.startswith("marimo."):
            return False
        return bool(getattr(comm, "_closed", False)) or not self._maker.is_alive()

    def _heard(self, widget: Any, content: Any, buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        self._is_read = True
        with self._guard:
            if content.get("kind") in ("new", "again"):
                self._wholes.append(0.0)
            elif content.get("kind") == "have":
                if {"log": self._log_number} | self._extent() == {name: content.get(name) for name in ("log", *self._extent())}:
                    self._wholes.clear()
            else:
                self._answer(content)
        self._wake.set()

    async def pump(self, seconds: float | None = None) -> None:
        """
        Tell the page what changes from the notebook's own loop, where threads cannot (Colab): ``await grid.pump()``.

        Args:
            seconds: How long; until the widget is closed when not given. Interrupt the kernel to end it sooner.
        """
        end = None if seconds is None else time.monotonic() + seconds
        self._is_pumped = True
        try:
            while self._over is not None and not self._over.is_set() and (end is None or time.monotonic() < end):
                self._try_to_say()
                await asyncio.sleep(max(_TICK_S, self._may_send_at - time.monotonic()))
        finally:
            self._is_pumped = False
            self._wake.set()

    # ending

    def _end(self) -> None:
        """Have the threads of the widget end; a thread in foreign code while the interpreter goes away takes it down."""
        if self._over is not None:
            self._over.set()
        self._wake.set()
        self._leave()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(5)
        self._leave()  # a thread may have begun to listen meanwhile

    def close(self) -> None:
        """Stop listening, leave the last state in place of the live view, and remove the widget; again is harmless."""
        self._end_with()

    def _end_with(self, html: str | None = None) -> None:
        if self._over is not None and not self._over.is_set():
            self._end()
            _turns.release()
            super()._end_with(html)


_open: weakref.WeakSet[LiveWidget] = weakref.WeakSet()


def _end_all() -> None:
    for widget in list(_open):
        widget._end()
