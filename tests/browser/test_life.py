"""What is left when a kernel, a server or a page is gone: saved notebooks, frozen outputs, files to send."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page, expect

import playhead as ph
from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.jupyter import GRID, PLAYER, Lab
from tests.browser.pages import Open, connect, event, history, rows
from tests.conftest import wait_for


def scrubs_and_plays(page: Page, executions: str) -> None:
    """The marker of the player goes to the past, plays on from there and back to the end, with no help."""
    player = page.locator(PLAYER)
    expect(player.locator(".ph-total")).to_have_text(executions, timeout=20_000)
    slider = player.get_by_role("slider")
    slider.press("Home")
    expect(player.locator(".ph-total")).to_have_text("1 execution")
    slider.press("]")
    for _ in range(7):
        slider.press("]")
    slider.press(" ")
    expect(player).to_have_attribute("data-live", "true", timeout=20_000)
    slider.press("n")
    slider.press("PageDown")
    player.locator('[data-job][data-state="failed"]').first.click()
    expect(player.locator(".ph-card")).to_contain_text("timeout")


def save(page: Page) -> bool:
    """As a user does."""
    return bool(page.evaluate("() => jupyterapp.commands.execute('docmanager:save').then(() => true)"))


def states(path: Path) -> dict[str, object]:
    """The widgets that a notebook keeps."""
    kept = json.loads(path.read_text())["metadata"].get("widgets", {})
    found: dict[str, object] = kept.get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    return found


def test_a_saved_notebook_plays_with_no_kernel(notebook: Open, server: Running, client: Client, lab: Lab) -> None:
    """Saved and opened again, with the old kernel and the server gone: the last state, marked, and the player plays."""
    client.publish(history(21))
    client.flush()
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b')", "ph.ReplayPlayer(client, batch_id='b')")
    nb.run()
    expect(nb.player.locator(".ph-total")).to_have_text("21 executions", timeout=30_000)
    nb.wait_until_done()
    saved = lab.work / nb.name
    # the table is told anew once nothing has changed for a while; the two widgets and their layouts are kept
    wait_for(lambda: save(nb.page) and saved.read_text().count("<table>") == 2 and len(states(saved)) == 4)
    nb.page.evaluate("() => jupyterapp.commands.execute('notebook:shutdown-kernel')")
    nb.open()
    for root in (nb.grid, nb.player):
        expect(root.locator(".ph-light")).to_contain_text("kernel stopped - last state", timeout=20_000)
        expect(root.locator(".ph-total")).to_have_text("21 executions")
        expect(root).to_have_attribute("data-connection", "disconnected")
    scrubs_and_plays(nb.page, "21 executions")
    tables = [output["data"]["text/html"] for cell in nbformat.read(saved, 4).cells for output in cell.outputs]
    assert all("<table>" in html and "<script" not in html for html in tables)


def test_a_frozen_output_plays_in_the_notebook_and_in_nbconvert(
    notebook: Open, server: Running, client: Client, lab: Lab, browser: Browser, tmp_path: Path
) -> None:
    """`freeze()` leaves HTML that needs no widget; in `nbconvert` HTML it does the same, and asks nobody for anything."""
    client.publish(history(21))
    client.flush()
    nb = notebook(
        connect(server.url), "player = ph.ReplayPlayer(client, batch_id='b')\ngrid = ph.LiveGrid(client, batch_id='b')\nplayer",
        "grid", "import time; time.sleep(2)\nplayer.freeze()\ngrid.freeze()\nclient.close()",
    )  # fmt: skip
    nb.run()
    nb.wait_until_done()
    frame = nb.page.frame_locator("iframe[title*='ReplayPlayer']")
    expect(frame.locator(".ph-total")).to_have_text("21 executions", timeout=20_000)
    expect(nb.page.locator("iframe")).to_have_count(2)
    save(nb.page)
    saved = lab.work / nb.name
    wait_for(lambda: saved.read_text().count("srcdoc") == 2)
    html, _ = HTMLExporter().from_filename(str(saved))
    assert "<table>" in html
    written = tmp_path / "saved.html"
    written.write_text(html)
    page = browser.new_page()
    asked: list[str] = []
    page.route("**/*", lambda route: asked.append(route.request.url) or route.continue_())
    page.goto(written.as_uri())
    inside = page.frames[1]
    for one in page.frames[1:]:
        if one.locator(PLAYER).count():
            inside = one
    scrubs_and_plays(inside, "21 executions")  # type: ignore[arg-type]
    assert page.frame_locator("iframe[title*='LiveGrid']").locator("[data-job]").count() > 1
    assert [url for url in asked if "cdn" not in url and not url.startswith(("file:", "about:"))] == []
    page.close()


def test_a_file_to_send_shows_the_recording_alone(server: Running, client: Client, browser: Browser, tmp_path: Path) -> None:
    """`save_html` of a player and of a dashboard: one file, no network, markup in events is text."""
    bad = "</script><img src=x onerror='window.owned=1'>"
    client.publish(history(21))
    client.publish(event("failed", bad, error=bad))
    client.flush()
    for widget in (ph.ReplayPlayer(client, batch_id="b"), ph.Dashboard(client)):
        wait_for(lambda widget=widget: widget._tape.length == 63)
        path = widget.save_html(tmp_path / f"{type(widget).__name__}.html")
        widget.close()
        page = browser.new_page(offline=True)
        errors: list[str] = []
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        page.goto(path.as_uri())
        root = page.locator("[data-playhead]")
        expect(root.locator(".ph-total").first).to_contain_text("22 executions")
        expect(root.locator(".ph-light")).to_contain_text("saved ")
        expect(rows(root, "failed").first).to_contain_text(bad)
        root.get_by_role("slider").press("Home")
        expect(root.locator(".ph-total").first).to_contain_text("1 execution")
        assert page.evaluate("() => window.owned") is None
        assert errors == []
        page.close()


def test_what_is_saved_is_small(client: Client, tmp_path: Path) -> None:
    """A replay of 100,000 events takes at most 2 MB, a grid of 10,000 jobs 300 KB, as files with all that they need."""
    for first in range(0, 100_000, 5_000):
        client.publish([
            event("progress", f"job {n % 5_003}", progressPercentage=n % 100, currentStep=f"step {n % 11}",
                  currentUrl=f"https://www.site-{n % 5_003}.example.com/catalog/{n * 7919 % 100_003}?page={n % 23}")
            for n in range(first, first + 5_000)
        ])  # fmt: skip
    client.publish([event("started", f"www.site-{n}.example.com", "grid") for n in range(10_000)])
    client.publish([event("completed", f"www.site-{n}.example.com", "grid") for n in range(9_990)])
    client.flush(60)
    player = ph.ReplayPlayer(client, batch_id="b")
    grid = ph.LiveGrid(client, batch_id="grid")
    wait_for(lambda: player._tape.length == 100_000, 30)
    wait_for(lambda: sum(row.state == "completed" for row in grid._newest) == 9_990, 30)
    assert player.save_html(tmp_path / "player.html").stat().st_size < 2_000_000
    assert grid.save_html(tmp_path / "grid.html").stat().st_size < 300_000
    for widget in (player, grid):
        widget.close()


def test_a_restarted_kernel_leaves_the_last_state_marked(notebook: Open, server: Running, client: Client) -> None:
    """The rows stay, the light goes out and says when; the cells run again make them live again."""
    client.publish(history(6))
    nb = notebook(connect(server.url), "ph.LiveGrid(client, batch_id='b')")
    nb.run()
    expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=30_000)
    expect(rows(nb.grid)).to_have_count(6)
    nb.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(nb.grid.locator(".ph-light")).to_contain_text("kernel stopped - last state", timeout=10_000)
    assert rows(nb.grid).count() == 6
    nb.page.wait_for_function(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.connectionStatus === 'connected'", timeout=30_000
    )
    time.sleep(1)  # JupyterLab takes the status of the old one for that of the new one for a moment
    nb.run()
    expect(nb.grid).to_have_attribute("data-connection", "connected", timeout=30_000)


def test_a_second_tab_shows_the_same(notebook: Open, server: Running, client: Client) -> None:
    """The notebook open in another page too: both are live; the marker of each is its own."""
    client.publish(history(6))
    nb = notebook(connect(server.url), "ph.ReplayPlayer(client, batch_id='b')")
    nb.run()
    expect(nb.player.locator(".ph-total")).to_have_text("6 executions", timeout=30_000)
    nb.wait_until_done()
    save(nb.page)
    other = nb.page.context.new_page()
    other.goto(nb.page.url.split("?")[0])
    second = other.locator(PLAYER)
    expect(second.locator(".ph-total")).to_have_text("6 executions", timeout=30_000)
    client.publish(event("started", "later"))
    for root in (nb.player, second):
        expect(root.locator(".ph-total")).to_have_text("7 executions")
    assert other.locator(GRID).count() == 0
    other.close()
