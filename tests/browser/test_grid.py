"""The grid in a real JupyterLab, in a real browser: what a user sees and does."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from playwright.sync_api import expect

from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.jupyter import GRID, PLAYER
from tests.browser.pages import BUSY, Open, connect, event, history, rows

_ROOT = Path(__file__).parents[2]


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
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b')", BUSY.format(8))
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


def test_text_from_events_stays_text(notebook: Open, server: Running, client: Client) -> None:
    """Markup in a job's name, step, url, error or batch is shown as it was written, live and in the saved table."""
    bad = "<img src=x onerror='window.owned=1'><script>window.owned=1</script>"
    client.publish([event("progress", bad, bad, currentStep=bad, currentUrl=f"javascript:{bad}")])
    client.publish([event("failed", "two", bad, error=bad)])
    client.flush()
    grid, player = f"grid = ph.LiveGrid(client, batch_id={bad!r})\ngrid", f"ph.ReplayPlayer(client, batch_id={bad!r})"
    nb = notebook(
        connect(server.url), grid, player,
        "import time; time.sleep(1)\nfrom IPython.display import HTML\nHTML(grid._table())",
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
