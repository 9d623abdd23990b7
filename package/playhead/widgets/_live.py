"""
How a widget speaks to the page while the kernel is busy.

One thread a widget sends, and nothing else does: what changed, at once when it was quiet and at most 33 times a second
under load, always under the widget's lock, so the order of the messages is the order of what happened. No trait is
assigned from a thread. The trait ``page`` is never assigned either: it is *serialised* when a page asks for the state,
and is the whole as of then, so a page that is reloaded needs no word from the kernel's main thread. Messages are::

    {"kind": "rows" | "status" | "beat", "log": n, "status"?: {…}, "notice"?: "…", …what the widget adds}

A beat every 2 s tells the page that the kernel is there; a page that hears nothing says so. What a page missed while it
loaded is sent again whole, by the clock in a widget's first seconds and whenever a page asks.

An event crosses about six threads' waits for the interpreter on its way, each as long as the switch interval while a cell
computes. So while a widget is open that interval is 1 ms instead of Python's 5: publish to cell p99 107 -> 59 ms at 100
events/s beside a busy loop, p50 44 -> 32 (tests/benchmarks/bench_cell.py). The loop is not measurably slower by it; a cell
that itself publishes 100 events/s to a server in the same kernel takes 5 % longer.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from playhead.client.status import ConnectionState
from playhead.times import now

_STATIC = Path(__file__).parent / "static"
_TICK_S = 0.03
_SWITCH_S = 0.001
_BEAT_S = 2.0
_WHOLE_AFTER_S = (0.7, 2.5, 6.0)  # a page takes that long to load a widget's module; what was sent before is lost to it
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
        began = time.monotonic()
        self._wholes = [began + after for after in _WHOLE_AFTER_S]
        self._beat_at = began + _BEAT_S
        super().__init__(**traits)
        self.on_msg(self._heard)
        self._speaker = threading.Thread(target=self._speak, name=f"playhead-{type(self).__name__}", daemon=True)
        _turns.hold()
        self._speaker.start()

    @property
    def connection(self) -> ConnectionState:
        """What the widget knows of its connection."""
        return self._status

    # what a subclass says

    def _rows(self) -> dict[str, Any]:
        """What the whole holds beside the status."""
        return {}

    def _part(self) -> Part | None:
        """What changed since the last call, as fields and buffers of a message; None when nothing did."""
        return None

    def _extent(self) -> dict[str, Any]:
        """How much was sent, so that a page notices what it missed."""
        return {}

    def _html(self) -> str:
        """The last state for a page without script or kernel."""
        return ""

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
            },
            "notice": self._notice,
        }  # fmt: skip

    def _polling_interval(self) -> float | None:
        return None

    def _whole(self) -> dict[str, Any]:
        with self._guard:
            return {"log": self._log_number} | self._state() | self._rows()

    def _speak(self) -> None:
        over = self._over
        assert over is not None
        while not over.is_set():
            self._wake.wait(max(0.0, min([self._beat_at, *self._wholes]) - time.monotonic()))
            self._wake.clear()
            try:
                with self._guard:
                    if not over.is_set():
                        self._say_what_is_due(time.monotonic())
            except Exception:
                _log.exception("a %s could not tell its page; it tries again", type(self).__name__)
            over.wait(_TICK_S)

    def _say_what_is_due(self, at: float) -> None:
        part = self._part()
        if part is not None or self._is_news or at >= self._beat_at:
            fields, buffers = part or ({}, [])
            kind = "rows" if part else "status" if self._is_news else "beat"
            news = self._state() if self._is_news else {}
            self._is_news = False
            self._beat_at = at + _BEAT_S
            self.send({"kind": kind, "log": self._log_number} | news | self._extent() | fields, buffers=buffers)
        if any(at >= due for due in self._wholes):
            self._wholes = [due for due in self._wholes if at < due]
            self.send_state("page")

    def _heard(self, widget: Any, content: Any, buffers: Any) -> None:
        if isinstance(content, dict) and content.get("kind") == "again":
            with self._guard:
                self._wholes.append(0.0)
            self._wake.set()

    # showing

    def _bundle(self, *, is_live: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        found = super()._repr_mimebundle_() if is_live else None
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        html = self._html()
        return data | {"text/plain": repr(self)} | ({"text/html": html} if html else {}), metadata

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self._bundle()

    def _ipython_display_(self, **options: Any) -> None:
        from IPython.display import display

        data, metadata = self._bundle()
        self._handles.append(display(data, metadata=metadata, raw=True, display_id=True))
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

    def close(self) -> None:
        """Stop listening, leave the last state in place of the live view, and remove the widget; again is harmless."""
        over = self._over
        if over is not None and not over.is_set():
            over.set()
            self._wake.set()
            _turns.release()
            self._leave()
            if self._speaker is not threading.current_thread():
                self._speaker.join(2)
            data, metadata = self._bundle(is_live=False)
            for handle in self._handles:
                if handle is not None:
                    handle.update(data, metadata=metadata, raw=True)
        super().close()


def _running_cell() -> tuple[str, str] | None:
    """The notebook cell that runs now, and this run of it; None outside a notebook."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    parent = shell.get_parent() if shell is not None and hasattr(shell, "get_parent") else None
    if not parent:
        return None
    cell = (parent.get("metadata") or {}).get("cellId")
    return (cell, parent["header"]["msg_id"]) if cell else None
