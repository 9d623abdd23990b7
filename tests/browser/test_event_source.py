"""The streams as a page's own script uses them: EventSource and WebSocket, with a ticket, no library."""

from __future__ import annotations

import httpx
from playwright.sync_api import Browser

from playhead_server.server import Running
from tests.conftest import TOKEN, wait_for

_FOLLOW = """
([ticket, query]) => {
  window.seen = []; window.ids = [];
  window.source = new EventSource(`/api/events/stream?ticket=${ticket}&${query}`);
  source.onmessage = (message) => { seen.push(JSON.parse(message.data).seq); ids.push(message.lastEventId); };
}
"""
_SOCKET = """
(ticket) => {
  window.messages = [];
  const socket = new WebSocket(`/api/events/ws?ticket=${ticket}&after=start&jobId=x`, ["playhead.v1"]);
  socket.onmessage = (message) => messages.push(JSON.parse(message.data));
  socket.onclose = (end) => { window.code = end.code; };
}
"""
_BAD = """
() => { const socket = new WebSocket("/api/events/ws?ticket=none"); socket.onclose = (end) => { window.code = end.code; }; }
"""


def ticket(server: Running) -> str:
    answer = httpx.post(f"{server.url}/api/tickets", headers={"X-Playhead-Token": TOKEN}, trust_env=False)
    return str(answer.json()["ticket"])


def test_a_page_follows_with_onmessage(server: Running, browser: Browser) -> None:
    """History, then live, in a plain `onmessage`; `lastEventId` is the cursor."""
    page = browser.new_page()
    page.goto(f"{server.url}/healthz")
    server.recording.append([{"type": "a", "jobId": job} for job in "xyx"])
    page.evaluate(_FOLLOW, [ticket(server), "jobId=x&after=start"])
    page.wait_for_function("() => seen.length === 2")
    server.recording.append([{"type": "a", "jobId": "x"}])
    page.wait_for_function("() => seen.length === 3")
    assert page.evaluate("seen") == [1, 3, 4]
    assert page.evaluate("ids")[-1] == f"{server.recording.epoch}:4"
    page.close()
    wait_for(lambda: server.recording.append([{"type": "a", "jobId": "x"}]) and _streams(server) == 0)


def _streams(server: Running) -> int:
    stats = httpx.get(f"{server.url}/api/stats", headers={"X-Playhead-Token": TOKEN}, trust_env=False)
    return int(stats.json()["streams"])


def test_a_page_reads_the_socket_and_its_close_code(server: Running, browser: Browser) -> None:
    """Filters in the query subscribe at once; a bad ticket closes with a code that a script can read."""
    page = browser.new_page()
    page.goto(f"{server.url}/healthz")
    server.recording.append([{"type": "a", "jobId": job} for job in "xyx"])
    page.evaluate(_SOCKET, ticket(server))
    page.wait_for_function("() => messages.some((one) => one.op === 'caught_up')")
    events = [one for one in page.evaluate("messages") if one["op"] == "events"]
    assert [event["seq"] for event in events[0]["events"]] == [1, 3]
    page.evaluate(_BAD)
    page.wait_for_function("() => window.code === 4401")
    page.close()
