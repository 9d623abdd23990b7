"""The page at `/` in a real Chromium, of real servers: what it shows, to whom, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from playhead_server.server import Running, Settings, running
from tests.browser.jupyter import Lab
from tests.browser.pages import event
from tests.conftest import TOKEN, process
from tests.recordings import three
from tests.shared_log import Redis, shared

_AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
_SECRET = "s" * 32
# at most so long until a page that asks every 2 s knows it, on a machine that is busy
SOON = 15_000
Look = Callable[..., Page]


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Opens the page of a server, in a context of its own; at the end none has complained of more than a failed request."""
    contexts, complaints = [], []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def open_page(url: str, token: str = "", **options: Any) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{url}/")
        if token:
            give(page, token)
            expect(page.locator("#access")).to_be_hidden(timeout=SOON)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def give(page: Page, token: str) -> None:
    """Type a token, as somebody without a mouse does."""
    page.get_by_label("Token", exact=True).fill(token, timeout=SOON)
    page.keyboard.press("Enter")


def figure(page: Page, name: str) -> Locator:
    return page.locator(f'[data-figure="{name}"]').locator("b").first


def number(page: Page, name: str) -> float:
    text = figure(page, name).inner_text().replace(",", "")
    return float(text) if re.fullmatch(r"[\d.]+", text) else 0.0


def test_figures_move_when_events_are_published(server: Running, look: Look) -> None:
    """By the page's own lines of Python; its curl commands answer, and what it watches is what was published."""
    page = look(server.url, TOKEN)
    expect(page.locator("#state")).to_contain_text("ok")
    expect(figure(page, "head")).to_have_text("0")
    expect(page.locator("#batches .none")).to_be_visible(timeout=SOON)
    publish, watch, curl = page.locator("pre code").all_inner_texts()
    env = os.environ | {"PLAYHEAD_TOKEN": TOKEN}
    subprocess.run([sys.executable, "-W", "error", "-c", publish], env=env, check=True, timeout=60)
    row = page.locator("#batches tbody tr")
    expect(row.locator("bdi")).to_have_text("nightly audit", timeout=SOON)
    expect(row.locator("td.completed")).to_contain_text("1")
    head = server.recording.head
    assert head >= 4
    expect(figure(page, "head")).to_have_text(str(head))
    expect(figure(page, "events")).to_have_text(str(head))
    follow = subprocess.Popen([sys.executable, "-c", f"{watch}\n    break"], env=env, stdout=subprocess.PIPE, text=True)
    while follow.poll() is None or number(page, "in") == 0:
        server.recording.append([event("log", "x")])
        page.wait_for_timeout(20)
    assert "job_log" in follow.communicate()[0]
    assert page.locator('[data-figure="in"] path').get_attribute("d")
    expect(figure(page, "out")).not_to_have_text("–")
    line = curl.replace("curl -H", "curl -sS --fail -H").partition("curl -N")[0]
    answered = subprocess.run(["bash", "-ec", line], env=env, check=True, capture_output=True, timeout=30)
    assert json.loads(answered.stdout)["events"]


def test_a_wrong_token_is_said_to_be_one(server: Running, look: Look) -> None:
    """It is asked for until it is right; without one the page tells no more than `readyz` tells everybody."""
    server.recording.append([event("started", "j", "secret batch")])
    page = look(server.url)
    expect(page.get_by_label("Token", exact=True)).to_be_visible(timeout=SOON)
    expect(page.locator("#state")).to_contain_text("ok")
    expect(figure(page, "head")).to_have_text("1")
    expect(page.locator('[data-figure="events"]')).to_be_hidden()
    page.get_by_role("link", name="Batches").click()
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    for wrong, why in (("no-such-token", "not known here"), ("two words", "no spaces"), ("tökén", "ASCII")):
        give(page, wrong)
        expect(page.get_by_role("alert")).to_contain_text(why, timeout=SOON)
    assert "secret batch" not in page.content()
    give(page, TOKEN)
    expect(page.locator("#batches")).to_contain_text("secret batch", timeout=SOON)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_token_is_kept_in_no_place_but_the_page(server: Running, look: Look) -> None:
    """In no url, storage, cookie, history or source; a reload has forgotten it, and so has the button for that."""
    page = look(server.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    give(page, TOKEN)
    expect(figure(page, "events")).to_have_text("0", timeout=SOON)
    kept = page.evaluate(
        "[location.href, document.cookie, JSON.stringify({...localStorage, ...sessionStorage, ...history.state})]"
    )
    fields = page.evaluate("[...document.querySelectorAll('input')].map(input => input.value)")
    assert len(asked) >= 2 and fields == [""]
    assert not any(TOKEN in text for text in [*asked, *kept, page.content()]) and page.context.cookies() == []
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_label("Token", exact=True)).to_be_focused()
    expect(figure(page, "events")).to_be_hidden()
    give(page, TOKEN)
    expect(figure(page, "events")).to_have_text("0", timeout=SOON)
    page.reload()
    expect(page.get_by_label("Token", exact=True)).to_be_visible(timeout=SOON)


def test_links_work_with_a_typed_token(server: Running, look: Look) -> None:
    """What a browser can show is shown in the page, what is to be kept is saved, and neither has the token in its url."""
    server.recording.append([event("started", "j", "<i>of</i> the night")])
    page = look(server.url, TOKEN)
    page.get_by_role("link", name="Executions").click()
    shown = page.get_by_role("dialog")
    expect(shown).to_contain_text('"batchId": "<i>of</i> the night"', timeout=SOON)
    with page.expect_download() as saving:
        shown.get_by_role("link", name="Save").click()
    assert saving.value.suggested_filename == "executions.json"
    assert len(json.loads(saving.value.path().read_text())["executions"]) == 1
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    with page.expect_download() as saving:
        page.get_by_role("link", name="All events as CSV").click()
    assert saving.value.suggested_filename == "events.csv" and "job_started" in saving.value.path().read_text()
    expect(page.locator("#told")).to_contain_text("saved")


def test_an_organisation_sees_its_own(tmp_path: Path, look: Look) -> None:
    """Its events and batches; what tells of others is not there, rather than empty."""
    with running(Settings(recording=tmp_path / "a.playhead", port=0, token=TOKEN, jwt_secret=_SECRET)) as server:
        theirs = [event("started", f"j{n}", "of theirs") | {"organizationId": "theirs"} for n in range(4)]
        server.recording.append([*theirs, event("started", "j", "of ours") | {"organizationId": "ours"}])
        page = look(server.url, jwt.encode({"scope": "read", "org": "ours"}, _SECRET, "HS256"))
        expect(figure(page, "organizationId")).to_have_text("ours", timeout=SOON)
        expect(figure(page, "events")).to_have_text("1")
        expect(page.locator("#batches bdi")).to_have_text(["of ours"], timeout=SOON)
        for name in ("out", "segments", "sockets", "readers", "uptimeS", "bytes", "cluster.lag"):
            expect(page.locator(f'[data-figure="{name}"]')).to_be_hidden()
        page.get_by_role("button", name="Forget").click()
        give(page, jwt.encode({"scope": "publish"}, _SECRET, "HS256"))
        expect(page.get_by_role("alert")).to_contain_text("lacks the scope 'read'", timeout=SOON)
        expect(page.locator("#batches bdi")).to_have_count(0)


def test_a_batch_named_in_html_is_text(server: Running, look: Look) -> None:
    """What comes from an event is never read as HTML."""
    name = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"
    server.recording.append([event("failed", "j", name)])
    page = look(server.url, TOKEN)
    expect(page.locator("#batches bdi")).to_have_text(name, timeout=SOON)
    assert page.locator("#batches :is(img, bdi b)").count() == 0 and page.title() == "playhead"


def test_a_server_that_is_away_is_said_to_be(tmp_path: Path, look: Look) -> None:
    """Within seconds, as old figures are; when it is back they go on, with the same token."""
    with process(tmp_path / "a.playhead") as server:
        page = look(server.url, TOKEN)
        state = page.locator("#state")
        expect(state).to_contain_text("ok")
        server.kill()
        expect(state).to_contain_text("not reachable", timeout=SOON)
        expect(page).to_have_title(re.compile("not reachable"))
        server.start()
        expect(state).to_contain_text("ok", timeout=SOON)
        httpx.post(f"{server.url}/api/events", json=event("log", "x"), headers={"X-Playhead-Token": TOKEN}, trust_env=False)
        expect(figure(page, "head")).to_have_text("1", timeout=SOON)
        expect(page.locator("#access")).to_be_hidden()


def test_a_limit_is_waited_for(tmp_path: Path, look: Look) -> None:
    """A 429 is said, and asked again no sooner than it says; what was there stays."""
    with running(Settings(recording=tmp_path / "a.playhead", port=0, token=TOKEN, max_requests=0.2)) as server:
        page = look(server.url, TOKEN)
        expect(page.locator("#state")).to_contain_text("this token takes 0.2 requests a second", timeout=SOON)
        expect(figure(page, "head")).to_have_text("0")
        expect(page.locator("#state .why")).to_have_text("", timeout=2 * SOON)


def test_trouble_with_the_shared_log_is_said(tmp_path: Path, redis: Redis, look: Look) -> None:
    """`degraded`, with the reason, the figures of the cluster, and `ok` again afterwards."""
    with shared(tmp_path / "servers", 1, redis.url) as (server,):
        page = look(server.url, TOKEN)
        state = page.locator("#state")
        expect(state).to_contain_text("ok", timeout=SOON)
        expect(figure(page, "cluster.outbox")).to_have_text("0")
        redis.freeze()
        expect(state).to_contain_text(re.compile("degraded.*Redis"), timeout=SOON)
        expect(page).to_have_title(re.compile("degraded"))
        redis.thaw()
        expect(state).to_contain_text("ok", timeout=SOON)


def test_what_is_missing_is_named(tmp_path: Path, look: Look) -> None:
    """A segment that is gone: which events, and why."""
    path = tmp_path / "a.playhead"
    three(path, False)[1].unlink()
    with running(Settings(recording=path, port=0, token=TOKEN)) as server:
        page = look(server.url, TOKEN)
        expect(page.locator("#missing")).to_contain_text("events from 3,001 to 6,000", timeout=SOON)
        expect(figure(page, "missing")).to_have_text("1")


def test_nobody_looks_nobody_asks(server: Running, look: Look) -> None:
    """A tab that is hidden asks nothing; one that is seen again asks at once."""
    page = look(server.url, TOKEN)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    turn = """hidden => {
      Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(turn, True)
    asked.clear()
    page.wait_for_timeout(5000)
    assert asked == []
    with page.expect_request("**/api/stats", timeout=1000):
        page.evaluate(turn, False)


def test_the_tile_of_jupyterlab_asks_for_no_token(lab: Lab, look: Look) -> None:
    """Behind Jupyter's sign-in, at a path of its proxy, the figures are there and `connect()` needs no url."""
    page = look(f"{lab.url}/playhead")
    expect(page.locator("#state")).to_contain_text("ok", timeout=40_000)
    expect(figure(page, "head")).to_have_text("0", timeout=SOON)
    expect(page.locator("#access")).to_be_hidden()
    expect(page.locator("#recording")).to_have_text("playhead.playhead")
    expect(page.locator("pre code").first).to_contain_text("client = ph.connect()")


def test_axe_finds_nothing_to_complain_of_in_the_page(server: Running, look: Look) -> None:
    """Asking for a token and showing figures, in both themes and on a narrow screen, by axe-core's rules of WCAG 2.2 AA."""
    server.recording.append([event(kind, f"{kind} {n}", f"batch {n}") for kind in ("started", "failed") for n in range(3)])
    for theme, width in (("light", 1280), ("dark", 1280), ("light", 320)):
        page = look(server.url, color_scheme=theme, viewport={"width": width, "height": 800})
        expect(page.get_by_label("Token", exact=True)).to_be_visible(timeout=SOON)
        assert violations(page) == []
        give(page, TOKEN)
        expect(page.locator("#batches tbody tr")).to_have_count(3, timeout=SOON)
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="Figures").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert violations(page) == []


def violations(page: Page) -> list[str]:
    page.evaluate(_AXE.read_text())  # a script tag is not let run
    found: list[str] = page.evaluate("""async () => {
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
      const {violations} = await axe.run(document, {runOnly: {type: 'tag', values: tags}});
      return violations.map(one => `${one.id}: ${one.nodes.map(node => node.html.slice(0, 120)).join(' | ')}`);
    }""")
    return found


def test_only_the_pages_own_script_and_style_run(server: Running) -> None:
    """Its policy names them by their hashes, allows nothing inline otherwise, and no other site may frame it."""
    answer = httpx.get(server.url, trust_env=False)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'self'"
    assert all(re.fullmatch(r"'sha256-[\w+/]{43}='", policy[kind]) for kind in ("script-src", "style-src"))
    assert (answer.headers["x-content-type-options"], answer.headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert not re.search(r"https?://(?!127\.0\.0\.1:8765|www\.w3\.org/2000/svg)", answer.text)
