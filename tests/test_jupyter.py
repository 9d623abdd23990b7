"""The server's tile in JupyterLab: started, signed in and reached through a real Jupyter's proxy, at a path of its own."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from traitlets.config import Application
from websockets import InvalidStatus, Subprotocol
from websockets.sync.client import connect as connect_socket

import playhead as ph
from playhead_server import jupyter
from tests.browser.jupyter import environment, started
from tests.conftest import free_port, wait_for

pytestmark = pytest.mark.xdist_group("jupyter")
SIGN_IN = "token-of-the-jupyter-server"


class Jupyter:
    """A JupyterLab that asks for a token, below a path as JupyterHub has one, for a folder that it was not started in."""

    def __init__(self, home: Path) -> None:
        self.home, self.work = home, home / "work {1}"
        self.url = f"http://127.0.0.1:{free_port()}/user/night"
        self.discovery = home / "playhead_runtime_dir" / "server.json"
        self.http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"token {SIGN_IN}"}, trust_env=False, timeout=40, follow_redirects=True
        )

    @property
    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0",
            f"--ServerApp.port={httpx.URL(self.url).port}", f"--ServerApp.base_url={httpx.URL(self.url).path}",
            f"--IdentityProvider.token={SIGN_IN}", f"--ServerApp.root_dir={self.work}",
        ]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """One for all tests; at its end the server has ended too."""
    found = Jupyter(tmp_path_factory.mktemp("jupyter"))
    found.work.mkdir()
    with started(found.command, environment(found.home), f"{found.url}/api", found.home / "lab.log"), found.http:
        assert found.http.get("/playhead/healthz").json() == {"status": "ok"}  # the first request starts it
        assert found.discovery.exists()
        yield found
    wait_for(lambda: not found.discovery.exists())  # it takes that away only when it ends cleanly


def test_the_launcher_has_a_tile(lab: Jupyter) -> None:
    """With a title and a drawing, for the server's page."""
    (told,) = lab.http.get("/server-proxy/servers-info").json()["server_processes"]
    entry = told["launcher_entry"]
    assert (told["name"], entry["title"], entry["path_info"], entry["enabled"]) == ("playhead", "playhead", "playhead/", True)
    assert entry["category"] == "Notebook"  # where JupyterLab draws it
    icon = lab.http.get(urljoin(lab.url, entry["icon_url"]))
    assert icon.headers["content-type"] == "image/svg+xml" and icon.text.startswith("<svg")


def test_the_tile_opens_a_page_whose_links_work(lab: Jupyter) -> None:
    """The page is there with or without the last slash, and each of its links is answered, with no token but Jupyter's."""
    for path in ("/playhead", "/playhead/"):
        page = lab.http.get(path)
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    links = [link.replace("&amp;", "&") for link in re.findall('<a href="([^"]+)"', page.text)]
    assert len(links) >= 5
    assert {link: lab.http.get(urljoin(str(page.url), link)).status_code for link in links} == dict.fromkeys(links, 200)
    missing = lab.http.get("/playhead/nothing")
    assert missing.status_code == 404 and "/user/night/playhead/api/openapi.json" in missing.json()["detail"]


def test_the_recording_is_in_the_folder_that_jupyter_shows(lab: Jupyter) -> None:
    """`playhead.playhead`, whatever characters the folder has."""
    assert lab.http.get("/playhead/api/stats").json()["recording"] == "playhead.playhead"
    assert (lab.work / "playhead.playhead" / "recording.json").is_file()


def test_nobody_comes_past_jupyters_sign_in(lab: Jupyter) -> None:
    """Not through the proxy without a session, not from a page of elsewhere with one, not at the port itself."""
    with httpx.Client(trust_env=False, follow_redirects=False) as stranger:
        assert stranger.get(f"{lab.url}/playhead/api/stats").status_code in (302, 403)
        port = json.loads(lab.discovery.read_text())["url"]
        assert stranger.get(f"{port}/api/stats").status_code == 401
    event = {"type": "job_log", "jobId": "j"}
    assert lab.http.post("/playhead/api/events", json=event, headers={"Origin": "http://elsewhere.example"}).status_code == 403


def test_a_socket_through_the_proxy_is_live(lab: Jupyter) -> None:
    """A WebSocket that Jupyter lets in is told what is published, through the proxy too."""
    signed_in = {"Authorization": f"token {SIGN_IN}"}
    place = f"ws{lab.url.removeprefix('http')}/playhead/api/events/ws"
    with connect_socket(place, additional_headers=signed_in, subprotocols=[Subprotocol("playhead.v1")], proxy=None) as socket:
        socket.send(json.dumps({"op": "subscribe", "id": "s", "after": "now", "filter": {"jobId": ["proxied"]}}))
        while json.loads(socket.recv(10))["op"] != "subscribed":
            pass
        assert lab.http.post("/playhead/api/events", json={"type": "job_log", "jobId": "proxied"}).status_code == 201
        while (said := json.loads(socket.recv(10)))["op"] != "events":
            pass
    assert [event["jobId"] for event in said["events"]] == ["proxied"]
    with pytest.raises(InvalidStatus, match="403"):
        connect_socket(place, proxy=None)


def test_server_sent_events_come_through_the_proxy_as_they_happen(lab: Jupyter) -> None:
    """What a browser's EventSource asks for is handed on event by event."""
    asked = {"params": {"jobId": "streamed", "after": "now"}, "headers": {"Accept": "text/event-stream"}}
    with lab.http.stream("GET", "/playhead/api/events/stream", **asked) as stream:
        lines = stream.iter_lines()
        assert next(lines)  # where it begins; what is published from now on is in it
        event = {"type": "job_log", "jobId": "streamed"}
        publish = threading.Thread(target=lambda: httpx.post(
            f"{lab.url}/playhead/api/events", json=event, headers=lab.http.headers, trust_env=False))  # fmt: skip
        publish.start()
        data = next(line for line in lines if line.startswith("data: "))
        publish.join()
    assert json.loads(data.removeprefix("data: "))["jobId"] == "streamed"


def test_a_kernel_finds_the_server(lab: Jupyter, monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect()` in a process of the same user is a client of the server behind the tile."""
    monkeypatch.setenv("PLAYHEAD_RUNTIME_DIR", str(lab.discovery.parent))
    with ph.connect() as client:
        assert client.stats()["recording"] == "playhead.playhead"


def test_what_the_user_has_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token and a recording of the environment are used, braces and all; else a token is made for each Jupyter."""
    monkeypatch.setattr(Application, "_instance", None)
    made = {jupyter.tile()["environment"]["PLAYHEAD_TOKEN"] for _ in range(2)}
    assert len(made) == 2 and min(map(len, made)) >= 32
    assert str(Path.cwd() / "playhead.playhead") in jupyter.tile()["command"]
    monkeypatch.setenv("PLAYHEAD_TOKEN", "token{of}mine")
    monkeypatch.setenv("PLAYHEAD_RECORDING", "night.playhead")
    told = jupyter.tile()
    assert told["request_headers_override"]["X-Playhead-Token"].format() == "token{of}mine"
    assert told["environment"]["PLAYHEAD_TOKEN"].format() == "token{of}mine"
    assert "night.playhead" in told["command"]
