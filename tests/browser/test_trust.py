"""No green light on what is dead, in a real JupyterLab: servers, lines, kernels and pages that go and come back."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

from playwright.sync_api import expect

import playhead as ph
from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.pages import BUSY, Open, connect, event, history, rows
from tests.conftest import TOKEN, process
from tests.line import line
from tests.shared_log import Redis, shared


def test_a_killed_server_is_told_truthfully(notebook: Open, tmp_path: Path) -> None:
    """Reconnecting with the attempt, disconnected with what to do, never green meanwhile, and every event afterwards."""
    with process(tmp_path / "log.playhead") as served:
        nb = notebook(
            connect(served.url), "ph.ConnectionStatus(client, hide_after=0.2)", "ph.LiveGrid(client, batch_id='b')",
            "ph.ReplayPlayer(client, batch_id='b')",
        )  # fmt: skip
        nb.run()
        expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=30_000)
        expect(nb.status).to_have_attribute("data-connection", "connected")
        expect(nb.status).to_be_hidden()
        nb.page.evaluate("""() => {
          window.greens = 0; window.tries = new Set();
          window.watching = setInterval(() => {
            const grid = document.querySelector('[data-playhead="live-grid"]');
            if (grid.dataset.connection === 'connected') window.greens++;
            const found = grid.querySelector('.ph-light').textContent.match(/reconnecting \\((\\d+)\\)/);
            if (found) window.tries.add(found[1]);
          }, 10);
        }""")
        served.kill()
        expect(nb.grid).not_to_have_attribute("data-connection", "connected")
        nb.page.evaluate("() => { window.greens = 0 }")
        expect(nb.status).to_be_visible()
        expect(nb.grid).to_have_attribute("data-connection", "disconnected", timeout=20_000)
        expect(nb.grid).to_contain_text("is the server running? playhead serve starts one")
        expect(nb.status).to_have_attribute("data-connection", "disconnected")
        expect(nb.status).to_contain_text("playhead serve")
        assert served.url in (nb.status.get_attribute("title") or "")
        assert nb.page.evaluate("() => window.tries.size") >= 2
        assert nb.page.evaluate("() => { clearInterval(window.watching); return window.greens }") == 0
        served.start()
        with ph.connect(served.url, token=TOKEN) as client:
            client.publish(history(6))
            assert client.flush()
        for root in (nb.grid, nb.player):
            expect(root).to_have_attribute("data-connection", "connected", timeout=20_000)
            expect(root.locator(".ph-summary")).to_contain_text("✕ 1 failed▶ 1 running✓ 4 completed", timeout=20_000)
        expect(nb.status).to_be_hidden()


def test_a_server_on_its_own_is_told_and_shows_what_it_takes_in(notebook: Open, tmp_path: Path, redis: Redis) -> None:
    """Redis away: degraded, with why; what is published meanwhile is in the grid at once, and once when Redis is back."""
    with shared(tmp_path, 1, redis.url) as (served,), ph.connect(served.url, token=TOKEN) as client:
        client.publish([event("started", "early"), event("progress", "early", progressPercentage=20)])
        nb = notebook(
            connect(served.url), "ph.ConnectionStatus(client, hide_after=0.2)", "ph.LiveGrid(client, batch_id='b')",
            "ph.ReplayPlayer(client, batch_id='b')",
        )  # fmt: skip
        nb.run()
        expect(rows(nb.grid)).to_have_count(1, timeout=30_000)
        redis.kill()
        client.publish([event("progress", "early", progressPercentage=60), event("started", "late")])
        for root in (nb.grid, nb.status, nb.player):
            expect(root).to_have_attribute("data-connection", "degraded", timeout=10_000)
            expect(root).to_contain_text("Redis cannot be reached")
            expect(root).to_contain_text("reaches the other servers later")
        expect(rows(nb.grid)).to_have_count(2)
        expect(nb.grid.locator('[data-job="early"]')).to_have_attribute("data-progress", "60")
        client.publish(event("failed", "late", error="no"))
        expect(nb.grid.locator('[data-job="late"]')).to_have_attribute("data-state", "failed")
        nb.page.screenshot(path=tmp_path / "degraded.png")
        redis.start()
        for root in (nb.grid, nb.player):
            expect(root).to_have_attribute("data-connection", "connected", timeout=20_000)
            expect(root.locator(".ph-summary")).to_contain_text("✕ 1 failed▶ 1 running")
        expect(nb.grid.locator('[data-job="late"]')).to_have_attribute("data-state", "failed")
        assert [one.type for one in client.events(job_id="late")] == ["job_started", "job_failed"]


def test_where_only_plain_requests_get_through_the_grid_polls_and_says_so(
    notebook: Open, server: Running, client: Client
) -> None:
    """A proxy refuses the WebSocket and the stream: rows come all the same, by polling, and the grid names the interval."""
    client.publish(history(3))
    with line(server.url) as proxy:
        proxy.refused = {b"Upgrade: websocket": b"404 Not Found", b"/api/events/stream": b"404 Not Found"}
        nb = notebook(connect(proxy.url), "ph.LiveGrid(client, batch_id='b', polling_interval=0.5)")
        nb.run()
        expect(nb.grid.locator(".ph-light")).to_have_text("●polling every 0.5 s", timeout=30_000)
        expect(rows(nb.grid)).to_have_count(3)
        client.publish(event("started", "later"))
        expect(rows(nb.grid)).to_have_count(4)


def test_a_page_reloaded_while_the_kernel_is_busy_is_whole_again(notebook: Open, server: Running, client: Client) -> None:
    """Once the cell has ended (JupyterLab asks for no state before) grid and player show what happened meanwhile, unasked."""
    client.publish(history(10))
    grid, player = "ph.LiveGrid(client, batch_id='b')", "ph.ReplayPlayer(client, batch_id='b')"
    nb = notebook(connect(server.url), grid, player, BUSY.format(7))
    nb.run()
    expect(nb.player.locator(".ph-total")).to_have_text("10 executions", timeout=30_000)
    nb.player.locator("[role=slider]").press("Home")
    expect(nb.player).to_have_attribute("data-live", "false")
    nb.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    nb.open()
    client.publish(event("started", "meanwhile"))
    expect(nb.grid.locator(".ph-total")).to_have_text("11 executions", timeout=30_000)
    expect(nb.grid).to_have_attribute("data-connection", "connected")
    expect(nb.player).to_have_attribute("data-at", "2026-01-01T00:00:00.000Z")
    nb.player.get_by_role("button", name="Live").click()
    expect(nb.player.locator(".ph-total")).to_have_text("11 executions")
    client.publish(event("started", "later"))
    for root in (nb.grid, nb.player):
        expect(root.locator(".ph-total")).to_have_text("12 executions")


def test_a_recreated_log_starts_afresh_and_says_so(notebook: Open, tmp_path: Path) -> None:
    """Another recording behind the same url: the rows of the old log are gone, not mixed in, and a notice tells why."""
    with process(tmp_path / "log.playhead") as served:
        with ph.connect(served.url, token=TOKEN) as client:
            client.publish(history(6))
            client.flush()
        nb = notebook(connect(served.url), "ph.LiveGrid(client, batch_id='b')", "ph.ReplayPlayer(client, batch_id='b')")
        nb.run()
        expect(nb.player.locator(".ph-total")).to_have_text("6 executions", timeout=30_000)
        served.kill()
        served.recording = tmp_path / "another.playhead"
        served.start()
        with ph.connect(served.url, token=TOKEN) as client:
            client.publish(event("started", "new"))
            client.flush()
        for root in (nb.grid, nb.player):
            expect(root.locator(".ph-total")).to_have_text("1 execution", timeout=20_000)
            expect(root.locator(".ph-notice")).to_contain_text("The log was recreated")
            expect(rows(root)).to_have_attribute("data-job", "new")


def test_a_kernel_that_stops_turns_nothing_green(notebook: Open, server: Running, client: Client, tmp_path: Path) -> None:
    """The page hears no beat any more and says since when, instead of going on saying live; and takes it up again."""
    client.publish(history(3))
    told = tmp_path / "pid"
    stop = f"""
        import os, pathlib, signal, time
        pathlib.Path({str(told)!r}).write_text(str(os.getpid()))
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGSTOP)"""
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b')", textwrap.dedent(stop))
    nb.run()
    expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=30_000)
    expect(nb.grid.locator(".ph-light")).to_contain_text("kernel stopped - last state", timeout=20_000)
    expect(nb.grid).to_have_attribute("data-connection", "disconnected")
    os.kill(int(told.read_text()), signal.SIGCONT)
    expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=20_000)
