"""What the widgets over a batch share: the client they watch, the batch, which execution is selected, the table beside them."""

from __future__ import annotations

import time
from typing import Any

import traitlets

from playhead.client.api import Client
from playhead.client.follow import Watch
from playhead.state import Executions
from playhead.widgets._arguments import checked_batch, checked_client, checked_seconds
from playhead.widgets._live import LiveWidget
from playhead.widgets._table import static_table

_SETTLE_S = 60.0
NOTICES = {
    "epoch": "The log was recreated: this is the new one, from its start.",
    "trimmed": "Older events were deleted meanwhile: this is what the log still holds.",
}


def _to_pair(selected: dict[str, str | None] | None, widget: object = None) -> list[str | None] | None:
    return None if selected is None else [selected.get("execution_id"), selected["job_id"]]


def _from_pair(pair: list[str | None] | None, widget: object = None) -> dict[str, str | None] | None:
    return None if pair is None else {"execution_id": pair[0], "job_id": pair[1]}


class Watching(LiveWidget):
    """A widget that watches the events of a batch, and in which an execution is selected, as `Client.events` takes it."""

    batch_id = traitlets.Unicode(allow_none=True, read_only=True).tag(sync=True)

    selected = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True, to_json=_to_pair, from_json=_from_pair)

    @traitlets.validate("selected")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _check_selected(self, proposal: dict[str, Any]) -> dict[str, str | None] | None:
        chosen: dict[str, Any] | None = proposal["value"]
        if chosen is None:
            return None
        if not isinstance(chosen.get("job_id"), str) or set(chosen) - {"execution_id", "job_id"}:
            raise ValueError(
                f"selected={chosen!r} names no execution; write {{'execution_id': …, 'job_id': …}}, or None for none"
            )
        return {"execution_id": chosen.get("execution_id"), "job_id": chosen["job_id"]}

    def __init__(self, client: Any, *, batch_id: str | None, polling_interval: float, **traits: Any) -> None:
        self._client: Client = checked_client(client, type(self).__name__)
        self._batch = checked_batch(batch_id)
        self._interval = checked_seconds("polling_interval", polling_interval, least=0.05)
        self._executions = Executions()
        self._watch: Watch | None = None
        super().__init__(self._client.url, **traits)

    @traitlets.default("batch_id")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _the_batch(self) -> str | None:
        return self._batch

    def _begin_anew(self, reason: str) -> None:
        """Another log: what there was is over, and the page is told why."""
        self._executions = Executions()
        self._log_number += 1
        self._notice = NOTICES.get(reason, f"The log began afresh ({reason}).")
        self._is_news = True

    def _polling_interval(self) -> float | None:
        return self._interval

    def _lag(self) -> int | None:
        return None if self._watch is None else self._watch.status.lag_events

    def _leave(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _settle(self) -> None:
        end = time.monotonic() + _SETTLE_S
        while not self._is_caught_up():
            if time.monotonic() > end:
                raise TimeoutError(f"{self!r} still reads the history; try again when it is shown")
            time.sleep(0.02)

    def _is_caught_up(self) -> bool:
        """Whether what there was when the widget was made is here, or cannot be had."""
        return True

    @property
    def _title(self) -> str | None:
        return self._batch

    def _table(self) -> str:
        with self._guard:
            return static_table(self._executions.newest(), self._title)
