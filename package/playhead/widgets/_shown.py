"""
What a widget leaves in the output of a cell.

Beside the live view lies a table, for where there is neither kernel nor script (GitHub, nbconvert): told anew when nothing
has changed for a while, at the end of each cell where no page reads (nbclient, papermill), and when the widget is closed.
A cell that runs again closes what it made and showed before.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any, ClassVar

import anywidget

_QUIET_S, _TABLE_S = 3.0, 20.0  # the table is told anew so long after a change, and so long after the last time


class Shown(anywidget.AnyWidget):
    """A widget that is shown with a table beside it, can be frozen, and is closed when its cell runs again."""

    # (cell, run of it) -> what it made and showed there: nobody sees those any more once it runs again
    _shown_by: ClassVar[dict[str, tuple[str, list[Shown]]]] = {}

    def _begin_showing(self) -> None:
        self._guard = threading.RLock()
        self._handles: list[Any] = []
        self._made_in = _running_cell()
        self._is_read = False  # whether a page has spoken
        self._quiet_at = time.monotonic()  # when something was last told
        self._table_at = -_TABLE_S
        self._is_table_old = True

    def _table(self) -> str:
        """The last state as HTML, for a page without script or kernel."""
        return ""

    def _settle(self) -> None:
        """Wait for what there was when the widget was made."""

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
        GitHub, it is a table. Where the widget was not shown it is returned to be the output of the cell. It has all that
        was recorded when it was made, which it waits for, and what has come since.

        Raises:
            TimeoutError: the history is still being read after a minute; try again.
        """
        from playhead.widgets._frozen import frozen_html

        self._settle()
        with self._guard:
            html = frozen_html(self._esm, self._css, self.get_state(), self._table(), repr(self))
        self._end_with(html)
        if any(handle is not None for handle in self._handles):
            return None
        from IPython.display import HTML

        return HTML(html)

    def save_html(self, path: str | os.PathLike[str]) -> Path:
        """
        Write one file that shows what the widget shows, to send to anybody; it needs nothing else. Returns its path.

        Raises:
            TimeoutError: the history is still being read after a minute; try again.
        """
        from playhead.widgets._frozen import document

        self._settle()
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

    def _end_with(self, html: str | None = None) -> None:
        """Close it, and leave this behind; the table when not given."""
        self._leave_behind(self._table() if html is None else html)

    def _leave_behind(self, html: str) -> None:
        self._show_again(self._bundle(html))
        for cell, (run, shown) in list(self._shown_by.items()):
            self._shown_by[cell] = (run, [one for one in shown if one is not self])
        super().close()


_unread: weakref.WeakSet[Shown] = weakref.WeakSet()


def _tell_tables_after_cells(widget: Shown) -> None:
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
        if widget._is_read or widget.comm is None:
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
