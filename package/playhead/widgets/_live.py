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

The output of a cell carries a table beside the live view, for where there is neither kernel nor script (GitHub, nbconvert);
it is told anew when nothing has changed for a while, and when the widget is closed or frozen.

An event crosses about six threads' waits for the interpreter on its way, each as long as the switch interval while a cell
computes. So while a widget is open that interval is 1 ms instead of Python's 5: publish to cell p99 107 -> 59 ms at 100
events/s beside a busy loop, p50 44 -> 32 (tests/benchmarks/bench_cell.py). The loop is not measurably slower by it; a cell
that itself publishes 100 events/s to a server in the same kernel takes 5 % longer.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from playhead.client.status import ConnectionState
from playhead.times import now

_STATIC = Path(__file__).parent / "static"
_TICK_S = 0.05
_BYTES_A_S = 500_000
_SWITCH_S = 0.001
_BEAT_S = 2.0
_WHOLE_AFTER_S = (0.7, 2.5, 6.0, 20.0)  # a page takes that long to load a widget's module; what was sent before is lost to it
_QUIET_S, _TABLE_S = 3.0, 20.0  # the table is told anew so long after a change, and so long after the last time
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


class LiveWidget(anywidget.AnyWidget):
    """A widget with a thread that tells the page what changed; its subclasses say what that is."""

    _css = built("theme.css")
    page = traitlets.Int(0).tag(sync=True, to_json=lambda value, widget: widget._whole())
    # (cell, run of it) -> what it made and showed there: nobody sees those any more once it runs again
    _shown_by: ClassVar[dict[str, tuple[str, list[LiveWidget]]]] = {}
    _over: threading.Event | None = None

    def __init__(self, url: str, **traits: Any) -> None:
        self._guard = threading.RLock()
        self._wake, self._over = threading.Event(), threading.Event()
        self._url = url
        self._status = ConnectionState("reconnecting", "websocket", 0, now(), "connecting")
        self._notice = ""
        self._log_number = 0  # counts the logs seen: the page drops what it has of another one
        self._is_news = False
        self._handles: list[Any] = []
        self._made_in = _running_cell()
        self._maker = threading.current_thread()
        self._is_read = False  # whether a page has spoken
        began = time.monotonic()
        self._wholes = [began + after for after in _WHOLE_AFTER_S]
        self._beat_at = began + _BEAT_S
        self._quiet_at = began  # when something was last told
        self._table_at = -_TABLE_S
        self._is_table_old = True
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

    def _table(self) -> str:
        """The last state as HTML, for a page without script or kernel."""
        return ""

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
                "lag": self._lag(),
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

    # showing

    def _table_due(self) -> float:
        return max(self._quiet_at + _QUIET_S, self._table_at + _TABLE_S)

    def _tell_table(self) -> None:
        """Put the last state beside the live view of what was shown."""
        self._is_table_old = False
        self._table_at = time.monotonic()
        if self._handles:
            self._show_again(self._bundle())

    def _show_again(self, bundle: tuple[dict[str, Any], dict[str, Any]]) -> None:
        data, metadata = bundle
        for handle in self._handles:
            if handle is not None:
                handle.update(data, metadata=metadata, raw=True)

    def _bundle(self, html: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is shown: the live view with the table beside it, or the HTML given in place of both."""
        found = super()._repr_mimebundle_() if html is None else None
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        beside = self._table() if html is None else html
        return data | {"text/plain": repr(self)} | ({"text/html": beside} if beside else {}), metadata

    def freeze(self) -> Any:
        """
        Turn what was shown into HTML that needs neither kernel nor server, and close the widget.

        It searches, scrubs and plays as before, in JupyterLab and in ``nbconvert`` HTML; where scripts do not run, as on
        GitHub, it is a table. Where the widget was not shown it is returned to be the output of the cell.
        """
        from playhead.widgets._frozen import frozen_html

        with self._guard:
            html = frozen_html(self._esm, self._css, self.get_state(), self._table(), repr(self))
        self.close(html)
        if any(handle is not None for handle in self._handles):
            return None
        from IPython.display import HTML

        return HTML(html)

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one file that shows what the widget shows, to send to anybody; it needs nothing else. Returns its path."""
        from playhead.widgets._frozen import document

        with self._guard:
            text = document(self._esm, self._css, self.get_state(), repr(self))
        draft = Path(f"{os.fspath(path)}.part")
        draft.write_text(text, encoding="utf-8")
        return draft.replace(path)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self._bundle()

    def _ipython_display_(self, **options: Any) -> None:
        from IPython.display import display

        data, metadata = self._bundle()
        self._handles.append(display(data, metadata=metadata, raw=True, display_id=True))
        _tell_tables_after_cells(self)
        self._replace_the_last_run()

    def _replace_the_last_run(self) -> None:
        """A cell that makes and shows a widget and runs again has lost the old one from sight: close it."""
        here = _running_cell()
        if here is None or here != self._made_in:
            return
        cell, run = here
        last, shown = self._shown_by.get(cell, (run, []))
        if last != run:
            for old in shown:
                old.close()
            shown = []
        self._shown_by[cell] = (run, [*shown, self])

    def _end(self) -> None:
        """Have the threads of the widget end; a thread in foreign code while the interpreter goes away takes it down."""
        if self._over is not None:
            self._over.set()
        self._wake.set()
        self._leave()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(5)

    def close(self, html: str | None = None) -> None:
        """Stop listening, leave the last state in place of the live view, and remove the widget; again is harmless."""
        over = self._over
        if over is not None and not over.is_set():
            self._end()
            _turns.release()
            self._show_again(self._bundle(self._table() if html is None else html))
        super().close()


_open: weakref.WeakSet[LiveWidget] = weakref.WeakSet()
_unread: weakref.WeakSet[LiveWidget] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for widget in list(_open):
        widget._end()


def _tell_tables_after_cells(widget: LiveWidget) -> None:
    """Where no page reads (nbclient, papermill), what is shown is as of the end of each cell."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    if not _unread:
        with contextlib.suppress(ValueError):
            shell.events.unregister("post_run_cell", _after_cell)
        shell.events.register("post_run_cell", _after_cell)
    _unread.add(widget)


def _after_cell(result: Any = None) -> None:
    for widget in list(_unread):
        if widget._is_read or widget._over is None or widget._over.is_set():
            _unread.discard(widget)
        elif widget._is_table_old:
            with widget._guard:
                widget._tell_table()


def _running_cell() -> tuple[str, str] | None:
    """The notebook cell that runs now, and this run of it; None outside a notebook."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    parent = shell.get_parent() if shell is not None and hasattr(shell, "get_parent") else None
    if not parent:
        return None
    cell = (parent.get("metadata") or {}).get("cellId")
    return (cell, parent["header"]["msg_id"]) if cell else None
