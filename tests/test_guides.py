"""README.md and the guides: what can be named is in them, what they name is there, and what they say to type runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from starlette.routing import Route

import playhead as ph
from playhead.cli.main import app as command_line
from playhead_server.app import ROUTES
from playhead_server.server import Running
from tests import pages
from tests.conftest import TOKEN, free_port, process
from tests.pages import ENDLESS, PAGES, ROOT, TEXT, shell

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
DEPLOYING = ROOT / "docs" / "running" / "deploying.md"
SCALING = ROOT / "docs" / "running" / "scaling.md"

# In one place: what is different here of what is written.
URL, PORT = "http://127.0.0.1:8765", "8765"
FOLLOWED = "    print(event.type, event.data)\n"  # has no end: left after its first event


# What can be named


@pytest.mark.parametrize("name", [name for name in ph.__all__ if name != "__version__"])
def test_every_export_is_shown(name: str) -> None:
    """README.md or a guide uses or names each."""
    assert re.search(rf"\bph\.{name}\b", TEXT)


def calls() -> list[tuple[str, str]]:
    """Every method and path of the server."""
    found = []
    for route in ROUTES:
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"GET"}
        found += [(method, route.path) for method in sorted(methods)]
    return found


@pytest.mark.parametrize(("method", "path"), calls())
def test_every_call_is_told(method: str, path: str) -> None:
    """With its method."""
    assert re.search(rf"`{method} {re.escape(path)}[`?]", TEXT)


def test_the_server_describes_every_call(server: Running) -> None:
    """/api/openapi.json has each route, no other, and what each query parameter is."""
    request = urllib.request.Request(f"{server.url}/api/openapi.json", headers={"X-Playhead-Token": TOKEN})
    with urllib.request.urlopen(request, timeout=10) as answer:
        paths = json.load(answer)["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == set(calls())
    for method, path in described:
        call = paths[path][method.lower()]
        assert call["summary"]
        assert all(given["description"] for given in call["parameters"])


def commands() -> dict[str, Any]:
    """Each command of `playhead`, as Typer made it."""
    group: Any = typer.main.get_command(command_line)
    return dict(group.commands)


def options_of(command: Any) -> list[tuple[str, list[str]]]:
    """The longest way to write each option or argument, and its variables."""
    found = []
    for given in command.params:
        names = given.envvar or []
        written = max(given.opts, key=len) if given.param_type_name == "option" else given.name.upper()
        found.append((written, [names] if isinstance(names, str) else list(names)))
    return [one for one in found if one[0] != "--help"]


@pytest.mark.parametrize(("option", "variables"), options_of(commands()["serve"]))
def test_every_option_of_serve_is_told(option: str, variables: list[str]) -> None:
    """And the variable that does the same."""
    assert re.search(rf"`{option}[` ]", TEXT)
    assert variables, f"{option} has no variable"
    assert [name for name in variables if f"`{name}`" not in TEXT] == []


@pytest.mark.parametrize("option", [option for option, _ in options_of(commands()["replay"]) if option.startswith("--")])
def test_every_option_of_replay_is_told(option: str) -> None:
    """In replay's guide."""
    assert re.search(rf"`{option}[` ]", TEXT)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_explained(name: str) -> None:
    """Each is in a guide, and its --help says what it does and what each option is."""
    command = commands()[name]
    assert f"playhead {name}" in TEXT
    assert command.help
    for given in command.params:
        assert given.name == "help" or getattr(given, "help", None), f"playhead {name}: {given.name} has no help"


def test_variables_are_those_of_the_code() -> None:
    """Each PLAYHEAD_ variable that the code reads is told, and the other way round."""
    name = re.compile(r"\bPLAYHEAD_[A-Z_]+\b")
    texts = [path.read_text() for home in ("package", "server") for path in (ROOT / home).rglob("*.py")]
    code = {found for text in texts for found in name.findall(text)}
    assert code == set(name.findall(TEXT))


def test_what_is_linked_is_there() -> None:
    """Files that README.md and the guides link or show."""
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))


def test_every_make_target_that_is_named_exists() -> None:
    """What README.md, the guides, CONTRIBUTING.md and .PHONY call a target is one."""
    text = TEXT + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:`|^)make (\w+)", text, re.M))
    for line in re.findall(r"^\.PHONY:(.*)", (ROOT / "Makefile").read_text(), re.M):
        named |= set(line.split())
    assert {"demo", "test", "lab", "lint", "bench"} <= named
    assert sorted(named - make_targets()) == []


THEIRS = {"--appendonly", "--progressive_rendering", "--help"}  # options of redis-server, of Voilà, of everything


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    """Options, calls and metrics that it names are those of the code."""
    text = page.read_text()
    code = "".join(path.read_text() for home in ("package", "server") for path in (ROOT / home).rglob("*.py"))
    options = {option for command in every_command() for one in command.params for option in one.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", text)) <= options | THEIRS
    assert set(re.findall(r"(?:GET|POST|DELETE) (/[\w/.]*)", text)) <= {route.path for route in ROUTES}
    for metric in set(re.findall(r"\bplayhead_[a-z_]+(?<!_server)\b", text)):
        assert {f'"{metric.removesuffix(end)}"' in code for end in ("", "_total", "_info")} >= {True}, metric


def every_command() -> Iterator[Any]:
    """Each command, those of a group too."""
    waiting = list(commands().values())
    while waiting:
        command = waiting.pop()
        yield command
        waiting += getattr(command, "commands", {}).values()


# What is to be typed


def test_every_block_says_what_it_is() -> None:
    """So that a test of this file runs it; Prometheus' is in test_metrics."""
    found = {(page.stem, language) for page in PAGES for language, _ in pages.blocks(page) if language not in ("sh", "python")}
    assert found == {("deploying", "ini"), ("deploying", "nginx"), ("metrics", "yaml")}


@contextmanager
def happening(publish: Any) -> Iterator[None]:
    """Events that go on."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(0.05):
            publish({"type": "job_log", "jobId": "later", "executionId": "X"})

    publisher = threading.Thread(target=run)
    publisher.start()
    try:
        yield
    finally:
        is_over.set()
        publisher.join()


@pytest.mark.parametrize("page", [page for page in PAGES if pages.python(page)], ids=lambda page: page.stem)
def test_the_python_runs(page: Path, server: Running, tmp_path: Path) -> None:
    """A page's Python, block after block in one program, against a real server while events go on."""
    code = pages.python(page).replace(FOLLOWED, f"{FOLLOWED}    break\n")
    for name in set(re.findall(r'"(\w+\.playhead)"', code)):
        with ph.connect(tmp_path / name) as recording:
            recording.publish({"type": "batch_started", "batchId": "earlier"})
            assert recording.flush(10)
    with ph.connect(server.url, token=TOKEN) as client:
        for batch in ("nightly audit", "other"):
            with client.batch(batch) as told, told.job("example.com", site_name="Example") as job:
                job.progress(50, step="Reading")
        assert client.flush(10)
    held = server.recording.stats()["events"]
    with happening(lambda event: server.recording.append([event])):
        strict = ["-W", "error", "-W", "ignore:The inplace keyword"]  # Dask asks pandas 3.1 for what goes away
        ran = subprocess.run([sys.executable, *strict, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "job_" in ran.stdout or FOLLOWED not in code, "follow printed nothing"
    assert server.recording.stats()["events"] > held


def test_the_commands_run(tmp_path: Path) -> None:
    """The shell lines of all pages, in the order in which they are read, in one bash, against `playhead serve`."""
    env = os.environ | {"PATH": PATH, "PLAYHEAD_TOKEN": TOKEN, "CURL_HOME": str(tmp_path)}
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail\n")
    targets, said = make_targets(), {}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    blocks = [text for page in PAGES for _, text in pages.blocks(page, "sh") if "redis-server" not in text]
    wanted = [line for text in blocks for line in pages.lines(text)]
    with (
        process(tmp_path / "night.playhead") as server,
        ph.connect(server.url, token=TOKEN) as client,
        shell(tmp_path, env) as bash,
    ):
        client.publish([{"type": "job_started", "jobId": "j", "executionId": "X", "timestamp": "2000-01-01T00:00:00Z"}])
        assert client.flush(10)
        with happening(client.publish):
            for line in wanted:
                if line.startswith("make "):
                    assert line.split()[1] in targets
                elif line.startswith("pip install"):
                    (wanted_extras,) = re.findall(r"'\.\[([\w,]+)]'", line)
                    assert set(wanted_extras.split(",")) <= extras
                elif not line.startswith(("playhead serve night.playhead", ". .venv")):  # the one above; this environment
                    said[line] = bash.run(line.replace(URL, server.url))
    asked = [line for line in said if line.startswith("curl") and not line.startswith(ENDLESS)]
    answers = {line: json.loads(said[line]) for line in asked}
    assert [one["deleted"] for line, one in answers.items() if "-X DELETE" in line] == [1]
    assert [one["events"][0]["executionId"] for line, one in answers.items() if "executionId=X" in line] == ["X"]
    assert [one["accepted"] for line, one in answers.items() if "--json" in line] == [1]
    typed = {line.split()[1] for line in said if line.startswith("playhead ")}
    assert typed >= {"tail", "status", "export", "import", "replay", "prune", "token"}


def test_many_servers_by_hand(tmp_path: Path) -> None:
    """Redis, two servers and nginx, as it says, on other ports; an event published is in `playhead tail`."""
    *_, (_, script) = pages.blocks(SCALING, "sh")
    ports = {port: str(free_port()) for port in ("6379", "8771", "8772", PORT)}
    for written, here in ports.items():
        assert written in script
        script = script.replace(written, here)
    headers = {"X-Playhead-Token": str(re.findall("PLAYHEAD_TOKEN=(\\S+)", script)[0])}
    start, _, tail = script.rstrip().rpartition("\n")
    assert tail.startswith("playhead tail")
    url = f"http://127.0.0.1:{ports[PORT]}/api/events"

    def publish(event: dict[str, Any]) -> None:
        with suppress(httpx.HTTPError):
            httpx.post(url, json=event, headers=headers)

    with shell(tmp_path, os.environ | {"PATH": PATH}) as bash:
        bash.run(start)
        wait_until_ready([f"http://127.0.0.1:{ports[one]}" for one in ("8771", "8772", PORT)])
        with happening(publish):
            assert '"job_log"' in bash.run(tail)
        logs = [httpx.get(f"http://127.0.0.1:{ports[one]}/api/stats", headers=headers).json() for one in ("8771", "8772")]
        assert logs[0]["epoch"] == logs[1]["epoch"] and all(one["cluster"]["reason"] is None for one in logs)


def wait_until_ready(urls: list[str], **options: Any) -> None:
    """Until each server answers that it is ready, and no more on its own."""
    end = time.monotonic() + 40
    for url in urls:
        while True:
            assert time.monotonic() < end, url
            with suppress(httpx.HTTPError):
                answer = httpx.get(f"{url}/readyz", **options)
                if answer.status_code == 200 and answer.json()["status"] == "ok":
                    break
            time.sleep(0.1)


# Deploying


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 by an authority of its own, and its key."""
    made, key = folder / "playhead.pem", folder / "playhead.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def test_behind_the_nginx_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server block, on another port and with another certificate: publish, follow, the page, its own origin."""
    ((_, block),) = pages.blocks(DEPLOYING, "nginx")
    made, key = certificate(tmp_path)
    port = free_port()
    with process(tmp_path / "log.playhead", "--trusted-proxy", "127.0.0.1") as server:
        for written, here in {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "playhead.example.com": "127.0.0.1", URL: server.url,
            "/etc/ssl/playhead.pem": str(made), "/etc/ssl/playhead.key": str(key),
        }.items():  # fmt: skip
            assert written in block
            block = block.replace(written, here)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{name}_temp_path {tmp_path}/{name};" for name in kinds)
        config = tmp_path / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""  # whose folder this is
        config.write_text(f"{user} events {{}}\nhttp {{\n  access_log off; {temporary}\n{block}}}\n")
        command = f"nginx -p {tmp_path} -c {config} -e stderr -g 'daemon off; pid {tmp_path}/pid;' &"
        url = f"https://127.0.0.1:{port}"
        monkeypatch.setenv("SSL_CERT_FILE", str(made))
        with shell(tmp_path, os.environ | {"PATH": PATH}) as bash:
            bash.run(command)
            wait_until_ready([url])
            with ph.connect(url, token=TOKEN) as client:
                client.publish({"type": "job_log", "jobId": "through"})
                follow = client.follow(after="start")
                assert next(follow).job_id == "through"
                assert client.status.transport == "websocket"
                follow.close()
            own = {"Origin": url, "X-Playhead-Token": TOKEN}
            assert httpx.get(f"{url}/api/stats", headers=own).status_code == 200
            assert httpx.get(f"{url}/api/stats", headers=own | {"Origin": "https://evil.example"}).status_code == 403
            assert "playhead" in httpx.get(url).text
            large = {"type": "job_log", "data": {"message": "x" * 60_000}}
            answer = httpx.post(f"{url}/api/events", json=[large] * 200, headers=own)  # 12 MB; nginx' own limit is 1
            assert answer.status_code == 201, answer.text


def test_the_unit_of_the_guide(tmp_path: Path) -> None:
    """What systemd would start, with its file of variables, serves, and ends by SIGTERM; its settings are a unit's."""
    ((_, unit),) = pages.blocks(DEPLOYING, "ini")
    found = dict(line.split("=", 1) for line in pages.lines(unit) if "=" in line)
    assert re.findall(r"^\[(\w+)\]$", unit, re.M) == ["Unit", "Service", "Install"]
    program, *arguments = shlex.split(found["ExecStart"])
    assert program.endswith("/bin/playhead") and found["StateDirectory"] == "playhead"
    recording = f"/var/lib/{found['StateDirectory']}/log.playhead"  # the folder that systemd makes for it
    arguments = [str(tmp_path / "log.playhead") if one == recording else one for one in arguments]
    assert str(tmp_path) in arguments[1]
    (variable,) = re.findall(r"^# (PLAYHEAD_\w+)=", unit, re.M)
    env = os.environ | {"PLAYHEAD_PORT": str(port := free_port()), variable: TOKEN, "PLAYHEAD_RUNTIME_DIR": str(tmp_path)}
    command = [Path(sys.executable).parent / "playhead", *arguments]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as served:
        try:
            wait_until_ready([f"http://127.0.0.1:{port}"])
            answer = httpx.get(f"http://127.0.0.1:{port}/api/stats", headers={"X-Playhead-Token": TOKEN})
            assert answer.json()["events"] == 0
        finally:
            served.terminate()
        _, said = served.communicate(timeout=20)
    assert served.returncode == 0, said
    assert all(json.loads(line) for line in said.splitlines()) and TOKEN not in said
