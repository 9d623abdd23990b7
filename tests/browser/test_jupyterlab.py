"""The widgets in a real JupyterLab, in a real browser: what a user sees and does."""

from __future__ import annotations

import os
import re
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Locator, expect

import playhead as ph
from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.jupyter import GRID, PLAYER, Notebook
from tests.conftest import TOKEN, process
from tests.line import line

_ROOT = Path(__file__).parents[2]
_BUSY = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: sum(range(1000))"
Open = Callable[..., Notebook]


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    """A publisher of its own, in this process."""
    with ph.connect(server.url, token=TOKEN) as found:
        yield found


def connect(url: str) -> str:
    return f"import playhead as ph\nclient = ph.connect({url!r}, token={TOKEN!r})"


def event(kind: str, job: str, batch: str = "b", **data: object) -> dict[str, object]:
    return {"type": f"job_{kind}", "batchId": batch, "jobId": job, "executionId": job, "data": data}


def history(jobs: int, seconds: float = 60) -> list[dict[str, object]]:
    """Jobs one after another over a length of time that has gone by; every fifth failed, the last still runs."""
    events: list[dict[str, object]] = []
    for n in range(jobs):
        parts = [event("started", f"job {n}"), event("progress", f"job {n}", progressPercentage=50, currentStep="half")]
        if n < jobs - 1:
            ended = event("failed", f"job {n}", error="timeout") if n % 5 == 4 else event("completed", f"job {n}")
            parts.append(ended)
        events += parts
    for n, one in enumerate(events):
        s = seconds * n / (len(events) - 1)
        one["timestamp"] = f"2026-01-01T00:{int(s // 60):02}:{s % 60:09.6f}Z"
    return events


def rows(root: Locator, state: str = "") -> Locator:
    return root.locator(f'[data-state="{state}"][data-job]' if state else "[data-job]")


def test_the_quickstart_runs_live(notebook: Open) -> None:
    """While its batch runs the grid shows it; the player goes to the past and back to live; closing leaves tables."""
    nb = notebook(book=nbformat.read(_ROOT / "notebooks" / "01_quickstart.ipynb", 4))
    nb.page.evaluate("""() => {
      window.seen = {};
      setInterval(() => {
        const busy = [...document.querySelectorAll('.jp-InputPrompt')].some(e => e.textContent.includes('*'));
        const grid = document.querySelector('[data-playhead="live-grid"]');
        if (grid?.querySelector('[data-state="running"]') && busy) window.seen.running = true;
        const status = document.querySelector('[data-playhead="connection-status"]');
        if (status?.dataset.connection === 'connected') window.seen.status = true;
        if (document.querySelector('[data-playhead="replay-player"] [data-state="failed"]')) window.seen.player = true;
      }, 20);
    }""")
    nb.run()
    nb.page.wait_for_function("() => window.seen.running && window.seen.status && window.seen.player", timeout=60_000)
    nb.wait_until_done()
    tables = nb.page.locator(".jp-OutputArea-output b", has_text="quickstart")
    expect(tables).to_have_count(2)
    expect(nb.page.locator(f"{GRID}, {PLAYER}")).to_have_count(0)


def test_the_quickstart_runs_without_a_browser() -> None:
    """Top to bottom in under a minute, as nbclient does; what it leaves behind needs no kernel."""
    book = nbformat.read(_ROOT / "notebooks" / "01_quickstart.ipynb", 4)
    NotebookClient(book, timeout=60).execute()
    shown = [output.data.get("text/html", "") for cell in book.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("<b>quickstart</b>" in html and "failed" in html for html in shown) == 2


def test_rows_move_while_a_cell_computes(notebook: Open, server: Running, client: Client) -> None:
    """The kernel's main thread is in a Python loop from before the first event to after the last; the grid goes on."""
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b')", _BUSY.format(8))
    nb.run()
    expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=30_000)
    expect(nb.grid.locator(".ph-more")).to_have_text("No executions yet in b")
    client.publish(event("started", "one"))
    expect(rows(nb.grid, "running")).to_have_count(1)
    client.publish(event("progress", "one", progressPercentage=40, currentStep="Reading", currentUrl="https://example.com/a"))
    expect(rows(nb.grid)).to_have_attribute("data-progress", "40")
    expect(rows(nb.grid)).to_contain_text("Readinghttps://example.com/a")
    client.publish(event("failed", "one", error="timeout"))
    expect(rows(nb.grid, "failed")).to_contain_text("timeout")
    client.publish([event("started", "one"), event("completed", "one")])
    expect(rows(nb.grid, "completed")).to_contain_text("attempt 2")
    assert nb.is_busy()


def test_failed_and_active_first_and_the_rest_is_counted(notebook: Open, server: Running, client: Client) -> None:
    """max_display rows are in sight; what is past them is said, and scrolled to; it can be changed."""
    client.publish(history(20))
    client.flush()
    nb = notebook(connect(server.url), "grid = ph.LiveGrid(client, batch_id='b', max_display=4)\ngrid")
    nb.run()
    expect(nb.grid.locator(".ph-more")).to_have_text("and 16 more below", timeout=30_000)
    states = [row.get_attribute("data-state") for row in rows(nb.grid).all()]
    assert states[:4] == ["failed", "failed", "failed", "running"]
    assert len(states) <= 5
    expect(nb.grid.locator(".ph-summary")).to_contain_text("✕ 3 failed▶ 1 running✓ 16 completed20 executions")
    nb.grid.locator(".ph-view").evaluate("view => view.scrollTop = 1e6")
    expect(nb.grid.locator(".ph-more")).to_have_text("and 16 above")
    expect(nb.grid.locator('[data-job="job 0"]')).to_be_in_viewport()
    nb.ask("grid.max_display = 7; print()")
    expect(nb.grid.locator(".ph-more")).to_have_text("and 13 above")


def test_a_cell_that_runs_again_leaves_no_old_widget_behind(notebook: Open, server: Running) -> None:
    """What a cell made and showed is closed when it runs again: one grid in the page, one thread in the kernel."""
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b')")
    count = "import threading; print(sum(thread.name == 'playhead-LiveGrid' for thread in threading.enumerate()))"
    for _ in range(2):
        nb.run()
        nb.wait_until_done()
        expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=30_000)
    assert nb.ask(count) == "1"


def test_ten_thousand_rows_scroll_smoothly(notebook: Open, server: Running, client: Client) -> None:
    """Only rows in sight are in the document, and a frame is painted in a few milliseconds while rows change."""
    ended = [event(kind, f"job {n}") for n in range(10_000) for kind in ("started", "completed")]
    for first in range(0, len(ended), 5_000):
        client.publish(ended[first : first + 5_000])
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b', max_display=10)")
    nb.run()
    expect(nb.grid.locator(".ph-total")).to_have_text("10,000 executions", timeout=60_000)
    expect(nb.grid.locator(".ph-summary")).to_contain_text("10,000 completed", timeout=60_000)
    slowest = nb.page.evaluate("""async () => {
      const view = document.querySelector('.ph-view');
      const paints = [];
      for (let n = 0; n < 100; n++) {
        view.scrollTop = n * 2800;
        await new Promise(requestAnimationFrame);
        const begun = performance.now();
        view.dispatchEvent(new Event('scroll'));
        await new Promise(requestAnimationFrame);
        view.getBoundingClientRect();
        paints.push(performance.now() - begun);
      }
      return paints.sort((a, b) => a - b)[90];
    }""")
    assert slowest < 40  # a frame, on a machine that has other things to do
    assert nb.grid.locator(".ph-row").count() <= 11


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
    nb = notebook(connect(server.url), grid, player, _BUSY.format(7))
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


def test_the_marker_goes_to_the_past_and_back(notebook: Open, server: Running, client: Client) -> None:
    """By keys and mouse; while it is in the past, what happens is kept; one click is live again; Python knows where it is."""
    client.publish(history(21))
    nb = notebook(connect(server.url), "player = ph.ReplayPlayer(client, batch_id='b')\nplayer")
    nb.run()
    total, slider = nb.player.locator(".ph-total"), nb.player.locator("[role=slider]")
    expect(total).to_have_text("21 executions", timeout=30_000)
    expect(nb.player).to_have_attribute("data-live", "true")
    slider.focus()
    slider.press("Home")
    expect(total).to_have_text("1 execution")
    expect(nb.player).to_have_attribute("data-live", "false")
    expect(nb.player).to_have_attribute("data-at", "2026-01-01T00:00:00.000Z")
    slider.press("PageUp")
    slider.press("ArrowRight")
    expect(nb.player).to_have_attribute("data-at", "2026-01-01T00:00:06.600Z")
    slider.press("ArrowLeft")
    slider.press("PageDown")
    expect(nb.player).to_have_attribute("data-at", "2026-01-01T00:00:00.000Z")
    box = slider.bounding_box()
    assert box is not None
    nb.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(total).to_have_text("11 executions")
    for _ in range(100):
        at = nb.ask("print(player.at)")
        if at.startswith("2026-01-01 00:00:3"):
            break
    assert re.fullmatch(r"2026-01-01 00:00:(29|30)(\.\d+)?\+00:00", at)
    client.publish([event("started", "later"), event("completed", "later")])
    client.flush()
    expect(nb.player.locator(".ph-offset")).not_to_contain_text("of 1:00")
    expect(total).to_have_text("11 executions")
    nb.player.get_by_role("button", name="Live").click()
    expect(total).to_have_text("22 executions")
    expect(nb.player).to_have_attribute("data-live", "true")
    nb.ask("import datetime; player.at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC); print()")
    expect(total).to_have_text("1 execution")


def test_a_player_opens_where_python_put_it(notebook: Open, server: Running, client: Client) -> None:
    """`at` assigned in the cell that makes the player, before the page has any of the recording."""
    client.publish(history(700))
    client.flush()
    at = "player.at = datetime.datetime(2026, 1, 1, 0, 0, 30, tzinfo=datetime.UTC)"
    nb = notebook(connect(server.url), f"import datetime\nplayer = ph.ReplayPlayer(client, batch_id='b')\n{at}\nplayer")
    nb.run()
    expect(nb.player.locator(".ph-total")).to_have_text("350 executions", timeout=30_000)
    expect(nb.player).to_have_attribute("data-at", "2026-01-01T00:00:30.000Z")
    assert nb.ask("print(player.at)") == "2026-01-01 00:00:30+00:00"


def test_pause_resumes_where_it_paused_at_the_speed_chosen(notebook: Open, server: Running, client: Client) -> None:
    """Two views of one player share one clock; a paused marker stands still; speed is in steps from 0.1 to 1000."""
    client.publish(history(21))
    nb = notebook(connect(server.url), "player = ph.ReplayPlayer(client, batch_id='b')\nplayer", "player")
    nb.run()
    expect(nb.player).to_have_count(2, timeout=30_000)
    first, second = nb.player.first, nb.player.last
    speed, play = first.get_by_label("Speed"), first.locator(".ph-play")
    expect(first.locator(".ph-total")).to_have_text("21 executions")
    options = speed.locator("option").all_inner_texts()
    assert (options[0], options[-1]) == ("0.1×", "1000×")
    speed.select_option("2×")
    measured = nb.page.evaluate("""async () => {
      const [root, other] = document.querySelectorAll('[data-playhead="replay-player"]');
      const at = () => Date.parse(root.dataset.at);
      const button = root.querySelector('.ph-play');
      button.click();
      const begun = performance.now();
      await new Promise(done => setTimeout(done, 1500));
      button.click();
      const wall = performance.now() - begun;
      await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
      const paused = at();
      await new Promise(done => setTimeout(done, 300));
      const later = at();
      button.click();
      await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
      const resumed = at();
      button.click();
      return {wall, paused: paused - Date.UTC(2026, 0, 1), still: later - paused, jump: resumed - paused};
    }""")
    assert measured["still"] == 0
    assert 0 <= measured["jump"] < 400
    assert abs(measured["paused"] - 2 * measured["wall"]) < 500
    expect(play).to_have_text("▶ Play")
    expect(second).to_have_attribute("data-at", first.get_attribute("data-at") or "")
    speed.select_option("1000×")
    first.locator("[role=slider]").press(" ")
    expect(first).to_have_attribute("data-live", "true")
    expect(second.locator(".ph-total")).to_have_text("21 executions")


def test_text_from_events_stays_text(notebook: Open, server: Running, client: Client) -> None:
    """Markup in a job's name, step, url, error or batch is shown as it was written, live and in the saved table."""
    bad = "<img src=x onerror='window.owned=1'><script>window.owned=1</script>"
    client.publish([event("progress", bad, bad, currentStep=bad, currentUrl=f"javascript:{bad}")])
    client.publish([event("failed", "two", bad, error=bad)])
    client.flush()
    grid, player = f"grid = ph.LiveGrid(client, batch_id={bad!r})\ngrid", f"ph.ReplayPlayer(client, batch_id={bad!r})"
    nb = notebook(
        connect(server.url), grid, player,
        "import time; time.sleep(1)\nfrom IPython.display import HTML\nHTML(grid._html())",
    )  # fmt: skip
    nb.run()
    for root in (nb.grid, nb.player):
        expect(root.locator(".ph-title")).to_have_text(bad, timeout=30_000)
        expect(root.locator(".ph-name").filter(has_text="<img")).to_have_text(bad)
        expect(rows(root, "failed")).to_contain_text(bad)
        assert root.locator("img, script, a").count() == 0
    nb.wait_until_done()
    assert nb.page.locator(".jp-OutputArea-output img").count() == 0
    assert nb.page.evaluate("() => window.owned") is None


def test_both_themes_are_readable_and_narrow_pages_hold_it(notebook: Open, server: Running, client: Client) -> None:
    """Every text has a contrast of 4.5 to 1 on what is behind it (WCAG 2.2, 1.4.3); nothing runs over at 600 px."""
    client.publish(history(12))
    client.publish([event("queued", "waits"), event("cancelled", "stopped", error="no longer needed")])
    nb = notebook(
        connect(server.url), "ph.ConnectionStatus(client, hide_after=3600)",
        "ph.LiveGrid(client, batch_id='b', max_display=16)", "ph.ReplayPlayer(client, batch_id='b')",
    )  # fmt: skip
    nb.run()
    expect(nb.player.locator(".ph-total")).to_have_text("14 executions", timeout=30_000)
    contrast = (Path(__file__).parent / "contrast.js").read_text()
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        nb.use_theme(theme)
        assert nb.page.evaluate(contrast) == []
    back = nb.grid.evaluate("root => getComputedStyle(root).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", back)[:3]) < 60
    nb.page.set_viewport_size({"width": 600, "height": 900})
    for root in (nb.status, nb.grid, nb.player):
        inside = root.evaluate("""root => [...root.querySelectorAll('*')].filter(e => !e.closest('.ph-row'))
          .every(e => e.getBoundingClientRect().right <= root.getBoundingClientRect().right + 1)""")
        assert inside


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
    expect(nb.grid.locator(".ph-light")).to_contain_text("no word from the kernel since", timeout=20_000)
    expect(nb.grid).to_have_attribute("data-connection", "disconnected")
    os.kill(int(told.read_text()), signal.SIGCONT)
    expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=20_000)
