"""Charts in a real JupyterLab: drawn with no network, in the colours of either theme."""

from __future__ import annotations

from playwright.sync_api import expect

from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.pages import Open, connect, history


def test_a_chart_has_the_colours_of_the_theme(notebook: Open, server: Running, client: Client) -> None:
    """Its words have the page's text colour, before and after the theme changes; a bar says what it stands for."""
    client.publish(history(21))
    client.flush()
    nb = notebook(connect(server.url), "from playhead import charts\ncharts.timeline(client.events(batch_id='b'))")
    nb.run()
    title = nb.page.locator(".vega-embed svg text", has_text="Who ran when").first
    expect(title).to_be_visible(timeout=30_000)

    def colours() -> list[str]:
        found: list[str] = title.evaluate("e => [getComputedStyle(e).fill, getComputedStyle(e.closest('.vega-embed')).color]")
        return found

    light = colours()
    nb.use_theme("JupyterLab Dark")
    dark = colours()
    assert light[0] == light[1] and dark[0] == dark[1] and light[0] != dark[0]
    nb.page.locator(".vega-embed svg .mark-rect path").first.hover()
    expect(nb.page.locator("#vg-tooltip-element")).to_contain_text("state")
