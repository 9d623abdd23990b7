"""What the views of a recording do in a real JupyterLab: search, filter, group, cards, keys, feed, timeline, dashboard."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.pages import Open, connect, event, history, rows, until

_AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
FEED, TIMELINE, DASHBOARD = (f'[data-playhead="{name}"]' for name in ("event-feed", "timeline", "dashboard"))


def test_a_grid_is_searched_filtered_grouped_and_tells_what_it_leaves_out(
    notebook: Open, server: Running, client: Client
) -> None:
    """By mouse and keys; a card has all about an execution and its events; Python sees and sets what is selected."""
    client.publish(history(20))
    client.publish([event("started", "other", "second", goal="Collect prices", siteName="Shop", siteUrl="https://shop.example")])
    client.flush()
    nb = notebook(connect(server.url), "grid = ph.LiveGrid(client, max_display=5)\ngrid")
    nb.run()
    expect(nb.grid.locator(".ph-total")).to_have_text("21 executions", timeout=30_000)
    search = nb.grid.get_by_role("searchbox")
    search.fill("job 1")
    expect(nb.grid.locator(".ph-left")).to_contain_text("11 of 21 executions shown, 10 left out")
    nb.grid.get_by_role("button", name="failed: show only these").click()
    expect(nb.grid.locator(".ph-left")).to_contain_text("1 of 21 executions shown, 20 left out")
    nb.grid.get_by_role("button", name="show all executions").click()
    expect(nb.grid.locator(".ph-left")).to_be_hidden()
    expect(search).to_have_value("")
    nb.grid.get_by_role("button", name="group by batch").click()
    heads = nb.grid.locator("[data-group]")
    expect(heads.first).to_contain_text("second1 execution: ▶ 1 running")
    heads.first.click()
    expect(heads.first).to_have_attribute("aria-expanded", "false")
    expect(heads.nth(1)).to_contain_text("b20 executions: ✕ 3 failed · ▶ 1 running · ✓ 16 completed")
    view = nb.grid.get_by_role("grid")
    view.focus()
    view.press("Home")
    view.press("Enter")
    view.press("ArrowDown")
    view.press("Enter")
    card = nb.grid.locator(".ph-card")
    for text in ("▶ running", "Collect prices", "https://shop.example", "1 event, newest first", "job_started"):
        expect(card).to_contain_text(text)
    assert until(nb, "print(grid.selected)", "{'execution_id': 'other', 'job_id': 'other'}")
    view.press("Escape")
    expect(card).to_be_hidden()
    assert until(nb, "print(grid.selected)", "None")  # before the kernel says otherwise
    nb.ask("grid.selected = {'execution_id': 'job 4', 'job_id': 'job 4'}; print()")
    expect(card).to_contain_text("✕ failed")
    expect(card).to_contain_text("timeout")


def test_a_player_steps_finds_failures_and_shows_the_card_at_the_marker(
    notebook: Open, server: Running, client: Client
) -> None:
    """Every key; at the marker an execution is as it was then, with the events up to there."""
    client.publish(history(21))
    client.flush()
    nb = notebook(connect(server.url), "player = ph.ReplayPlayer(client, batch_id='b')\nplayer")
    nb.run()
    slider = nb.player.get_by_role("slider")
    expect(nb.player.locator(".ph-total")).to_have_text("21 executions", timeout=30_000)
    slider.press("Home")
    expect(nb.player).to_have_attribute("data-position", "1")
    slider.press(".")
    slider.press(".")
    expect(nb.player).to_have_attribute("data-position", "3")
    slider.press(",")
    expect(nb.player).to_have_attribute("data-position", "2")
    for failed in (1, 2):
        slider.press("n")
        expect(rows(nb.player, "failed")).to_have_count(failed)
    slider.press("p")
    expect(rows(nb.player, "failed")).to_have_count(1)
    rows(nb.player, "failed").click()
    card = nb.player.locator(".ph-card")
    expect(card).to_contain_text("3 events, newest first")
    slider.press(",")
    expect(card).to_contain_text("▶ running")
    expect(card).to_contain_text("2 events, newest first")
    slider.press("]")
    expect(nb.player.get_by_label("Speed")).to_have_value("2")
    slider.press("s")
    expect(nb.player.get_by_role("button", name="skip stretches")).to_have_attribute("aria-pressed", "false")
    slider.press("l")
    expect(nb.player).to_have_attribute("data-live", "true")
    assert until(nb, "print(player.selected)", "{'execution_id': 'job 4', 'job_id': 'job 4'}")


def test_feed_timeline_and_dashboard_show_one_moment(notebook: Open, server: Running, client: Client) -> None:
    """Events newest first with a search; bars that are clicked; a dashboard whose parts all follow the marker and the batch."""
    client.publish(history(12))
    client.publish([event("started", "other", "second"), event("log", "other", "second", message="hello there")])
    client.flush()
    nb = notebook(
        connect(server.url), "feed = ph.EventFeed(client, max_display=6)\nfeed",
        "line = ph.Timeline(client, batch_id='b')\nline", "board = ph.Dashboard(client, max_display=4)\nboard",
    )  # fmt: skip
    nb.run()
    feed, timeline, board = (nb.page.locator(name) for name in (FEED, TIMELINE, DASHBOARD))
    expect(feed.locator(".ph-total")).to_have_text("37 events", timeout=30_000)
    expect(feed.locator('[data-seq="37"]')).to_contain_text("hello there")
    feed.get_by_role("searchbox").fill("hello")
    expect(feed.locator(".ph-total")).to_have_text("1 of 37 events")
    feed.get_by_role("searchbox").fill("")
    feed.get_by_label("Which events").select_option("failures")
    expect(feed.locator(".ph-total")).to_have_text("2 of 37 events")
    expect(feed.locator(".ph-event")).to_have_count(2)
    nb.ask("import datetime; feed.at = datetime.datetime(2026, 1, 1, 0, 0, 30, tzinfo=datetime.UTC); print()")
    expect(feed.locator(".ph-total")).to_have_text("1 of 18 events")
    canvas = timeline.locator("canvas")
    expect(canvas).to_have_attribute("data-bars", "12")
    canvas.focus()
    canvas.press("ArrowDown")
    canvas.press("ArrowDown")
    for _ in range(100):
        told = nb.ask("print(line.selected)")
        if "job 1" in told:
            break
    assert told == "{'execution_id': 'job 1', 'job_id': 'job 1'}"
    canvas.press("+")
    expect(canvas).not_to_have_attribute("data-bars", "12")
    canvas.press("0")
    timeline.get_by_role("slider").press("Home")
    expect(canvas).to_have_attribute("data-bars", "1")
    expect(board.locator('[data-tile="executions"]')).to_contain_text("13")
    expect(board.locator('[data-tile="failed"]')).to_contain_text("2")
    board.get_by_label("Batch", exact=True).select_option("b")
    expect(board.locator('[data-tile="executions"]')).to_contain_text("12")
    board.get_by_role("slider").press("Home")
    expect(board.locator('[data-tile="executions"]')).to_contain_text("1")
    expect(rows(board)).to_have_count(1)
    expect(board.locator(".ph-event")).to_have_count(1)
    expect(board.locator("canvas")).to_have_attribute("data-bars", "1")
    client.publish(event("started", "later"))
    board.get_by_role("button", name="Live").click()
    expect(board.locator('[data-tile="executions"]')).to_contain_text("13")


def test_two_batches_side_by_side_are_aligned_at_their_start(notebook: Open, server: Running, client: Client) -> None:
    """One marker moves both by the time since each began; Python has it as a length of time."""
    client.publish(history(11))
    later = [one | {"batchId": "second", "timestamp": str(one["timestamp"]).replace("2026", "2027")} for one in history(6)]
    client.publish(later)
    client.flush()
    nb = notebook(connect(server.url), "both = ph.ReplayPlayer.compare(client, 'b', 'second')\nboth")
    nb.run()
    both = nb.page.locator('[data-playhead="comparison"]')
    first, second = (both.locator(f'[data-side="{name}"]') for name in ("b", "second"))
    expect(first.locator(".ph-total")).to_have_text("11 executions", timeout=30_000)
    expect(second.locator(".ph-total")).to_have_text("6 executions")
    box = both.get_by_role("slider").bounding_box()
    assert box is not None
    nb.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(first.locator(".ph-total")).to_have_text("6 executions")
    expect(second.locator(".ph-total")).to_have_text(re.compile("3 executions|4 executions"))
    expect(both.locator(".ph-at")).to_contain_text("+ ")
    for _ in range(100):
        told = nb.ask("print(both.at)")
        if told != "None":
            break
    assert re.match(r"0:00:(29|30)", told)


def test_axe_finds_nothing_to_complain_of(notebook: Open, server: Running, client: Client) -> None:
    """Roles, names, contrast and order of every widget, in both themes, by axe-core's rules of WCAG 2.2 AA."""
    client.publish(history(12))
    client.publish([event("queued", "waits"), event("cancelled", "stopped", error="no longer needed")])
    client.flush()
    cells = [
        "ph.ConnectionStatus(client, hide_after=3600)", "grid = ph.LiveGrid(client, batch_id='b')\ngrid",
        "ph.EventFeed(client, batch_id='b')", "ph.Timeline(client, batch_id='b')", "ph.Dashboard(client)",
    ]  # fmt: skip
    nb = notebook(connect(server.url), *cells)
    nb.run()
    board = nb.page.locator(DASHBOARD)
    expect(board.locator('[data-tile="executions"]')).to_contain_text("14", timeout=30_000)
    rows(nb.grid).first.click()
    rows(board).first.click()
    board.get_by_role("slider").press("PageDown")
    expect(nb.grid.locator(".ph-card")).to_contain_text("newest first")
    assert _AXE.exists(), "axe-core is missing: make front installs it"
    nb.page.add_script_tag(path=_AXE)
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        nb.use_theme(theme)
        found = nb.page.evaluate("""async () => {
          const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
          const include = [...document.querySelectorAll('.ph, .ph-status')];
          const rules = {region: {enabled: false}};  // landmarks are the notebook's
          const {violations} = await axe.run({include}, {runOnly: {type: 'tag', values: tags}, rules});
          return violations.map(one => `${one.id}: ${one.nodes.map(node => node.html.slice(0, 120)).join(' | ')}`);
        }""")
        assert found == []
