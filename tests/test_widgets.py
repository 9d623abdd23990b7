"""The widgets on the kernel's side: what they take, what they tell a page, how they end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import playhead as ph
from playhead.client.api import Client
from playhead.errors import ServerUnavailable
from playhead.widgets import _recorded
from playhead_server.server import Running
from tests.conftest import TOKEN, wait_for


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with ph.connect(server.url, token=TOKEN) as found:
        yield found


def event(kind: str, job: str, **data: object) -> dict[str, object]:
    return {"type": f"job_{kind}", "batchId": "b", "jobId": job, "executionId": job, "data": data}


def unzipped(piece: bytes) -> bytes:
    return zlib.decompress(piece[4:]) if piece.startswith(b"zlib") else piece


def header_of(piece: bytes) -> dict[str, Any]:
    """What a piece of a recording says of itself."""
    plain = unzipped(piece)
    header: dict[str, Any] = msgspec.json.decode(plain[4 : 4 + int.from_bytes(plain[:4], "little")])
    return header


def rows_of(grid: ph.LiveGrid) -> list[Any]:
    (piece,) = grid.get_state("page")["page"]["pieces"]
    return list(zip(*msgspec.json.decode(unzipped(piece)), strict=True))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"max_display": 0}, ValueError, "write 1 or more"),
        ({"max_display": 2.5}, TypeError, "write max_display=6"),
        ({"max_display": True}, TypeError, "write max_display=6"),
        ({"batch_id": ["a"]}, TypeError, "write batch_id='nightly audit'"),
        ({"batch_id": ""}, ValueError, "name a batch"),
        ({"polling_interval": 0}, ValueError, "write 0.05 to 86400"),
        ({"polling_interval": "5"}, TypeError, "write polling_interval=5.0"),
        ({"polling": 5}, TypeError, "polling"),
    ],
)
def test_an_argument_of_no_use_is_refused_with_what_to_write(
    client: Client, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Before anything is followed; of the grid and of the player alike."""
    for widget in (ph.LiveGrid, ph.ReplayPlayer):
        with pytest.raises(error, match=says):
            widget(client, **arguments)


def test_what_is_no_client_is_refused_with_what_to_write() -> None:
    """A url, a class, an AsyncClient: the message names ph.connect()."""
    for given in ("http://127.0.0.1:1", None, Client):
        for widget in (ph.LiveGrid, ph.ReplayPlayer, ph.ConnectionStatus):
            with pytest.raises(TypeError, match=rf"write {widget.__name__}\(ph.connect\(\), …\)"):
                widget(given)  # type: ignore[arg-type]


def test_a_style_or_a_wait_of_no_use_is_refused(client: Client) -> None:
    """The banner's two arguments say what they take."""
    with pytest.raises(ValueError, match="write style='banner' or style='dot'"):
        ph.ConnectionStatus(client, style="lamp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="write 0 to 86400"):
        ph.ConnectionStatus(client, hide_after=-1)


def test_a_page_that_asks_gets_the_whole(client: Client) -> None:
    """Rows by place, newest attempt, with the connection as it is; nothing of it was ever assigned to a trait."""
    client.publish([event("started", "a"), event("failed", "a", error="no"), event("started", "a"), event("progress", "b")])
    with_grid = ph.LiveGrid(client, batch_id="b")
    wait_for(lambda: len(rows_of(with_grid)) == 2)
    wait_for(lambda: with_grid.connection.state == "connected")
    page = with_grid.get_state("page")["page"]
    first, second = rows_of(with_grid)
    assert (first[0], first[5], first[9], first[10:13]) == (1, 2, 1, ("a", "a", "b"))
    assert (second[0], second[5], second[10:13]) == (1, 1, ("b", "b", "b"))
    assert page["status"]["state"] == "connected"
    assert page["status"]["url"] == client.url
    with_grid.close()


def test_the_recording_sent_to_a_page_is_every_event(client: Client) -> None:
    """History first, then what comes, gapless and once, whatever is sealed in between; a page that asks gets all of it."""
    client.publish([event("progress", f"job {n % 7}", progressPercentage=n % 100) for n in range(300)])
    client.flush()
    player = ph.ReplayPlayer(client, batch_id="b")
    for n in range(200):
        client.publish(event("progress", f"job {n % 9}", currentStep=f"step {n}"))
        if n % 40 == 0:
            client.flush()
    wait_for(lambda: player.get_state("page")["page"]["length"] == 500)
    headers = [header_of(piece) for piece in player.get_state("page")["page"]["pieces"]]
    assert [header["first"] for header in headers] == [0, *np.cumsum([header["n"] for header in headers])[:-1]]
    assert sum(header["n"] for header in headers) == 500
    assert [pair for header in headers for pair in header["places"]] == [[f"job {n}", f"job {n}"] for n in range(9)]
    player.close()


def test_the_marker_is_a_time_with_a_zone(client: Client) -> None:
    """`at` is None while live, UTC in any zone given, observable, exact to the microsecond over the wire."""
    player = ph.ReplayPlayer(client)
    seen: list[datetime | None] = []
    player.observe(lambda change: seen.append(change["new"]), "at")
    assert player.at is None
    player.at = datetime(2026, 1, 1, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert player.at == datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
    us = player.get_state("at")["at"]
    player.set_state({"at": us + 1})
    assert player.at == datetime(2026, 1, 1, 12, 0, 0, 6, tzinfo=UTC)
    player.set_state({"at": None})
    assert [at and at.microsecond for at in seen] == [5, 6, None]
    with pytest.raises(ValueError, match="has no zone; write"):
        player.at = datetime(2026, 1, 1)
    player.close()


def test_another_log_begins_afresh(client: Client) -> None:
    """Rows of the old log are gone from what a page is told, and a notice says why."""
    client.publish(event("started", "a"))
    for widget in (ph.LiveGrid(client, batch_id="b"), ph.ReplayPlayer(client, batch_id="b")):
        wait_for(lambda widget=widget: len(widget._executions.newest()) == 1)
        widget._reset("epoch")
        page = widget.get_state("page")["page"]
        assert page["log"] == 1
        assert "recreated" in page["notice"]
        assert rows_of(widget) == [] if isinstance(widget, ph.LiveGrid) else page["length"] == 0
        widget.close()


def test_closing_stops_the_thread_and_the_watch(client: Client) -> None:
    """No thread is left, no event is taken, the interpreter's switch interval is what it was; again is harmless."""
    before = sys.getswitchinterval()
    widgets = [ph.LiveGrid(client, batch_id="b"), ph.ReplayPlayer(client, batch_id="b"), ph.ConnectionStatus(client)]
    assert sys.getswitchinterval() < before
    for widget in widgets:
        widget.close()
        widget.close()
    assert sys.getswitchinterval() == before
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("playhead-Live")])
    client.publish(event("started", "late"))
    client.flush()
    assert not widgets[0]._places
    gc.collect()


def test_the_saved_table_escapes_what_events_say(client: Client) -> None:
    """Markup in names and errors is text; at most 20 rows, and how many more."""
    bad = "<script>alert(1)</script>"
    client.publish([event("failed", f"{bad}{n}", error=bad) for n in range(25)])
    grid = ph.LiveGrid(client, batch_id="b")
    wait_for(lambda: len(grid._places) == 25)
    html = grid._table()
    assert bad not in html
    assert html.count("&lt;script&gt;") == 40
    assert "and 5 more" in html
    grid.close()


async def test_a_pump_tells_the_page_from_the_loop_and_ends(client: Client) -> None:
    """Where threads cannot update a page: what changes while it is awaited goes out from the loop's thread alone."""
    grid = ph.LiveGrid(client, batch_id="b")
    senders: list[tuple[str, str]] = []

    def sent(content: dict[str, Any], buffers: Any = None) -> None:
        senders.append((content["kind"], threading.current_thread().name))

    grid.send = sent
    client.publish(event("started", "a"))
    await grid.pump(1.0)
    assert {name for kind, name in senders if kind == "rows"} == {threading.main_thread().name}
    assert not grid._is_pumped
    grid.close()
    await grid.pump()


def test_what_is_selected_is_checked_and_given_as_a_question(client: Client) -> None:
    """A dict that `client.events` takes; anything else is refused with what to write."""
    client.publish([event("started", "a"), event("completed", "a"), event("started", "b")])
    client.flush()
    grid = ph.LiveGrid(client, batch_id="b")
    grid.set_state({"selected": ["a", "a"]})
    assert grid.selected == {"execution_id": "a", "job_id": "a"}
    assert client.events(**grid.selected).count() == 2
    assert grid.get_state("selected") == {"selected": ["a", "a"]}
    grid.selected = None
    for wrong in ({"job": "a"}, {"job_id": 1}, {"job_id": "a", "batch_id": "b"}):
        with pytest.raises(ValueError, match=r"write \{.execution_id"):
            grid.selected = wrong
    grid.close()


def test_two_that_are_compared_are_checked(client: Client) -> None:
    """Ids, two different ones, of batches or executions."""
    with pytest.raises(TypeError, match="write compare"):
        ph.ReplayPlayer.compare(client, "a", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="compared with itself"):
        ph.ReplayPlayer.compare(client, "a", "a")
    with pytest.raises(ValueError, match="write by='batch' or by='execution'"):
        ph.ReplayPlayer.compare(client, "a", "b", by="job")  # type: ignore[arg-type]


def test_a_history_that_breaks_off_is_followed_instead(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before it broke off is dropped, in the page too, and nothing is doubled or missing."""
    client.publish([event("progress", f"job {n % 50}") for n in range(5_000)])
    client.flush()
    real = _recorded._tables

    def broken(reader: Any) -> Iterator[Any]:
        yield next(real(reader)).slice(0, 1000)
        raise ServerUnavailable(client.url, "the line was cut")

    monkeypatch.setattr(_recorded, "_tables", broken)
    player = ph.ReplayPlayer(client, batch_id="b")
    wait_for(lambda: player._tape.length == 5_000)
    page = player.get_state("page")["page"]
    assert (page["log"], page["length"]) == (1, 5_000)
    assert sum(header_of(piece)["n"] for piece in page["pieces"]) == 5_000
    player.close()


def test_of_a_long_log_the_newest_is_held_and_the_rest_is_said(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """All batches: the newest events, how many there are before them, and what to do; a batch that is named is held whole."""
    monkeypatch.setattr(_recorded, "_MOST", 100)
    client.publish([event("progress", f"job {n % 50}") for n in range(250)])
    client.flush()
    dashboard, player = ph.Dashboard(client), ph.ReplayPlayer(client, batch_id="b")
    wait_for(lambda: (dashboard._tape.length, player._tape.length) == (100, 250))
    page = dashboard.get_state("page")["page"]
    assert "The newest 100 events are held here; the log begins 150 before them." in page["notice"]
    assert header_of(page["pieces"][0])["seq"] == 151
    client.publish(event("started", "later"))
    wait_for(lambda: (len(dashboard._tape.pieces()), dashboard._tape.length) == (2, 101))
    for widget in (dashboard, player):
        widget.close()


def test_a_long_log_that_breaks_off_is_followed_from_where_it_is_held(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notice stays true: the newest events and no older ones, although the history could not be read at once."""

    def broken(reader: Any) -> Iterator[Any]:
        raise ServerUnavailable(client.url, "the line was cut")
        yield

    monkeypatch.setattr(_recorded, "_MOST", 100)
    monkeypatch.setattr(_recorded, "_tables", broken)
    client.publish([event("progress", f"job {n % 50}") for n in range(250)])
    client.flush()
    dashboard = ph.Dashboard(client)
    wait_for(lambda: dashboard._tape.length == 100)
    page = dashboard.get_state("page")["page"]
    assert header_of(page["pieces"][0])["seq"] == 151
    assert "begins 150 before them" in page["notice"]
    dashboard.close()


def test_a_program_may_end_while_a_widget_loads(tmp_path: Path) -> None:
    """A script that only makes widgets ends at once, and says nothing of threads that it did not wait for."""
    with ph.connect(tmp_path / "a.playhead") as client:
        client.publish([{"type": "job_started", "jobId": "j"}] * 3)
        assert client.flush(10)
    code = "import playhead as ph; c = ph.connect('a.playhead'); ph.ReplayPlayer(c); ph.Dashboard(c); ph.LiveGrid(c)"
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert (ran.returncode, ran.stderr) == (0, "")
