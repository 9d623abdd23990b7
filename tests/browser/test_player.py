"""The player in a real JupyterLab, in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.pages import Open, connect, event, history


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
