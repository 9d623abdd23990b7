"""Every call with every kind of token: who is let in, and that nobody learns anything of another organisation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.routing import Route
from websockets.sync.client import connect as connect_socket

from playhead_server.app import ROUTES
from playhead_server.server import Running, Settings, running
from playhead_server.tokens import Tokens
from tests.conftest import TOKEN

_MARKS = {"ours": "of-ours-a51c", "theirs": "of-theirs-7d3e", None: "of-nobody-90b2"}
_SAME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class Kind(NamedTuple):
    """A kind of token: its scopes, none for one that is not taken, and its organisation."""

    scopes: tuple[str, ...]
    organization: str | None = None


KINDS = {
    "none": Kind(()), "wrong": Kind(()), "expired": Kind(()), "revoked": Kind(()),
    "server": Kind(("publish", "read", "admin")),
    "read": Kind(("read",)), "publish": Kind(("publish",)), "admin": Kind(("admin", "read")),
    "read of ours": Kind(("read",), "ours"), "publish of ours": Kind(("publish",), "ours"),
    "admin of ours": Kind(("admin",), "ours"), "all of ours": Kind(("publish", "read", "admin"), "ours"),
    "all of theirs": Kind(("publish", "read", "admin"), "theirs"),
}  # fmt: skip
# each call, and the scope that it takes
_OPEN = ""
CALLS = {
    ("GET", "/"): _OPEN, ("GET", "/healthz"): _OPEN, ("GET", "/readyz"): _OPEN,
    ("POST", "/api/events"): "publish", ("GET", "/api/events"): "read", ("DELETE", "/api/events?olderThan=3650d"): "admin",
    ("GET", "/api/events?format=ndjson"): "read", ("GET", "/api/events?format=csv"): "read",
    ("GET", "/api/events?format=arrow"): "read", ("GET", "/api/events?format=parquet"): "read",
    ("GET", "/api/events?total=true&order=desc"): "read", ("GET", "/api/events?after={theirs}"): "read",
    ("GET", "/api/events?executionId=of-theirs-7d3e-x"): "read", ("GET", "/api/events?batchId=of-theirs-7d3e-b"): "read",
    ("GET", "/api/events/stream?after=start"): "read",
    ("GET", "/api/executions"): "read", ("GET", "/api/executions?format=arrow"): "read",
    ("GET", "/api/executions?at={theirs}&state=running,queued"): "read", ("GET", "/api/batches"): "read",
    ("GET", "/api/executions?batchId=of-theirs-7d3e-b"): "read", ("GET", "/api/batches?executionId=of-theirs-7d3e-x"): "read",
    ("POST", "/api/tickets"): "read", ("GET", "/api/stats"): "read", ("GET", "/api/openapi.json"): "read",
    ("GET", "/metrics"): "read",
}  # fmt: skip
_APART = {"/api/events/ws", "/api/replica"}  # has a test of its own; is not for tokens


class Tenants:
    """A server with the events of two organisations and of none, and a token of each kind."""

    def __init__(self, server: Running, tokens: Tokens) -> None:
        self.server, self.texts = server, {"server": TOKEN, "wrong": "ph_0badc0de_never-given-to-anybody"}
        for name, kind in KINDS.items():
            if name not in (*self.texts, "none"):
                end = datetime.now(UTC) - timedelta(seconds=1) if name == "expired" else None
                text, made = tokens.create(name, kind.scopes or ["read"], kind.organization, end)
                self.texts[name] = text
                if name == "revoked":
                    tokens.revoke(made.id)
        for organization in ("theirs", "ours", None):
            mark = _MARKS[organization]
            ids = {"executionId": f"{mark}-x", "batchId": f"{mark}-b", "jobId": f"{mark}-j"}
            data = {"siteName": f"{mark}-s", "goal": f"{mark}-g", "error": f"{mark}-e"}
            kinds = ("job_started", "job_progress", "job_failed", "job_started")
            events = [{"type": kind, **ids, "data": data} for kind in kinds]
            events[0]["id"] = _SAME_ID
            answer = self.asked("server" if organization is None else f"all of {organization}", "POST", "/api/events", events)
            assert answer.json()["duplicates"] == 0, "an id that another organisation has used is no duplicate"
            if organization == "theirs":
                self.theirs = answer.json()["cursor"]

    def asked(self, kind: str, method: str, path: str, events: Any = None, **headers: str) -> httpx.Response:
        """One answer; of a stream what comes first."""
        if kind in self.texts:
            headers["X-Playhead-Token"] = self.texts[kind]
        body = None if method != "POST" else json.dumps(events if events is not None else {"type": "note"})
        if body is not None:
            headers["Content-Type"] = "application/json"
        with (
            httpx.Client(base_url=self.server.url, trust_env=False) as http,
            http.stream(method, path, headers=headers, content=body) as response,
        ):
            if "stream" in path and response.is_success:
                heard = b""
                for part in response.iter_bytes():
                    heard += part
                    if b"heartbeat" in heard:  # all of the history has come
                        break
                return httpx.Response(response.status_code, headers=response.headers, content=heard)
            response.read()
        return response


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """One server for the whole table: nothing in it changes what another row sees but more events of one's own."""
    folder = tmp_path_factory.mktemp("tenants")
    tokens = Tokens(folder / "tokens.json")
    settings = Settings(
        recording=folder / "log.playhead", port=0, token=TOKEN, tokens=tokens.path, heartbeat_s=0.3, write_discovery=False
    )
    with running(settings) as server:
        yield Tenants(server, tokens)


def test_the_table_has_every_call() -> None:
    """A new route needs a row."""
    calls = {(method, path.partition("?")[0]) for method, path in CALLS}
    for route in ROUTES:
        if route.path not in _APART:
            assert isinstance(route, Route)
            assert {(method, route.path) for method in route.methods or () if method != "HEAD"} <= calls, route.path


@pytest.mark.parametrize("kind", KINDS)
def test_each_call_is_for_those_it_is_for(tenants: Tenants, kind: str) -> None:
    """401 without a token that is taken, 403 without the scope, else an answer with nothing of anybody else."""
    scopes, organization = KINDS[kind]
    for (method, path), needed in CALLS.items():
        answer = tenants.asked(kind, method, path.format(theirs=tenants.theirs))
        if not needed:
            expected = 200
        elif not scopes:
            expected = 401
        elif needed not in scopes:
            expected = 403
        else:
            expected = 201 if method == "POST" else 200
        assert answer.status_code == expected, (kind, method, path, answer.text[:300])
        told = answer.content.decode("latin-1") + repr(sorted(answer.headers.items()))
        for other, mark in _MARKS.items():
            is_asked_for = mark in path and answer.is_error
            if not needed or not answer.is_success or organization not in (None, other):
                assert mark not in told or is_asked_for, (kind, method, path)
        assert TOKEN not in told and tenants.texts.get(kind, TOKEN) not in told, (kind, method, path)


def test_an_organisation_sees_its_own_and_counts_it_alone(tenants: Tenants) -> None:
    """Pages, totals, executions, batches and figures are of its own events; one without an organisation sees all."""
    own, everything = (
        tenants.asked(kind, "GET", "/api/events?total=true&limit=1000").json() for kind in ("read of ours", "read")
    )
    assert {event["organizationId"] for event in own["events"]} == {"ours"}
    assert own["pagination"]["total"] == len(own["events"]) < everything["pagination"]["total"]
    assert {event["organizationId"] for event in everything["events"]} == {"ours", "theirs", None}
    assert tenants.asked("read of ours", "GET", "/api/stats").json()["events"] == len(own["events"])
    figures = tenants.asked("read of ours", "GET", "/metrics").text.splitlines()
    assert [line.split() for line in figures if not line.startswith("#")] == [
        ["playhead_head_seq", str(everything["events"][-1]["seq"])], ["playhead_events_held", str(len(own["events"]))],
    ]  # fmt: skip
    batches = tenants.asked("read of ours", "GET", "/api/batches").json()["batches"]
    assert [batch["batchId"] for batch in batches] == [f"{_MARKS['ours']}-b"]
    rows = tenants.asked("read of ours", "GET", "/api/executions").json()["executions"]
    assert {row["executionId"] for row in rows} == {f"{_MARKS['ours']}-x"}


def test_nobody_writes_for_another(tenants: Tenants) -> None:
    """An organisation's token cannot name another one; an admin without one may name any."""
    for kind, status in (("publish of ours", 422), ("publish", 422), ("server", 201)):
        answer = tenants.asked(kind, "POST", "/api/events", {"type": "note", "organizationId": "theirs"})
        assert answer.status_code == status, kind


def test_a_socket_is_as_narrow_as_its_token(tenants: Tenants) -> None:
    """By header, by message and by ticket: nothing but its own, whatever the filter asks for; errors end nothing."""
    ticket = tenants.asked("read of ours", "POST", "/api/tickets").json()["ticket"]
    headers = {"X-Playhead-Token": tenants.texts["read of ours"]}
    ways: list[tuple[str, dict[str, str], list[dict[str, str]]]] = [
        ("", headers, []), ("", {}, [{"op": "auth", "token": tenants.texts["read of ours"]}]), (f"?ticket={ticket}", {}, []),
    ]  # fmt: skip
    for query, sent, first in ways:
        address = f"ws{tenants.server.url.removeprefix('http')}/api/events/ws{query}"
        with connect_socket(address, additional_headers=sent, proxy=None) as socket:
            for message in first:
                socket.send(json.dumps(message))
            socket.send(json.dumps({"op": "subscribe", "id": "all", "after": "start"}))
            socket.send(json.dumps({"op": "subscribe", "id": "x", "after": "start", "filter": {"batchId": "of-theirs-7d3e-b"}}))
            socket.send(json.dumps({"op": "publish", "id": "p", "events": [{"type": "note"}]}))
            heard: list[str] = []
            while not heard or '"heartbeat"' not in heard[-1]:
                heard.append(str(socket.recv(10)))
        told = "".join(heard)
        assert _MARKS["ours"] in told and _MARKS["theirs"] not in told and str(_MARKS[None]) not in told
        assert any('"403"' in one and '"p"' in one for one in heard), heard


def test_deleting_takes_ones_own(tmp_path: Path) -> None:
    """An organisation's admin deletes its own events, all of those that are older; an admin without one everybody's."""
    tokens = Tokens(tmp_path / "tokens.json")
    settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, tokens=tokens.path, heartbeat_s=0.3)
    with running(settings) as server:
        tenants = Tenants(server, tokens)
        assert tenants.asked("admin of ours", "DELETE", "/api/events?olderThan=0s").json() == {"deleted": 4}
        left = tenants.asked("read", "GET", "/api/events?limit=1000").json()["events"]
        assert {event["organizationId"] for event in left} == {"theirs", None}
        assert tenants.asked("admin", "DELETE", "/api/events?olderThan=0s").json() == {"deleted": 8}
