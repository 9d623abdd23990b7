"""The shape of the house: exports, which way imports point, what is documented, what the README says and does."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import typer
from starlette.routing import Route

import playhead as ph
from playhead.cli.main import app as command_line
from playhead_server.app import ROUTES
from playhead_server.server import Running
from tests.conftest import TOKEN, free_port, process

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
HOMES = {"playhead": ROOT / "package", "playhead_server": ROOT / "server"}
HEAVY = ("pandas", "duckdb", "starlette", "ipywidgets", "numpy", "pyarrow", "anywidget", "uvicorn", "polars")

# From the ground up: a part of the library imports its own layer's part and what lies below, nothing beside or above.
# The ground's parts know each other.
LAYERS = (
    {"playhead", "errors", "times", "events", "columns", "state", "attempts", "intake", "bodies"},
    {"recording", "files"},
    {"client"},
    {"frames"},
    {"charts", "widgets", "demo"},
    {"cli"},
    {"__main__"},
)


class Import(NamedTuple):
    """One import of one module."""

    source: str
    target: str
    is_lazy: bool  # inside a function
    is_typing: bool  # for a type checker only

    def __str__(self) -> str:
        return f"{self.source} imports {self.target}{' inside a function' if self.is_lazy else ''}"


def modules() -> dict[str, Path]:
    """Every module of both packages, by its dotted name."""
    found = {}
    for name, home in HOMES.items():
        for path in sorted((home / name).rglob("*.py")):
            parts = path.relative_to(home).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str, path: Path) -> Iterator[Import]:
    known = modules()

    def visit(node: ast.AST, is_lazy: bool, is_typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(source, alias.name, is_lazy, is_typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                package = source.split(".") if path.name == "__init__.py" else source.split(".")[:-1]
                home = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{home}.{alias.name}"
                yield Import(source, inner if inner in known else home, is_lazy, is_typing)
        is_lazy = is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = node.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) else []
        for child in ast.iter_child_nodes(node):
            yield from visit(child, is_lazy, is_typing or child in guarded)

    yield from visit(ast.parse(path.read_text(), str(path)), False, False)


def all_imports() -> list[Import]:
    return [one for source, path in modules().items() for one in imports_of(source, path)]


def layer_of(part: str) -> int:
    return next((place for place, parts in enumerate(LAYERS) if part in parts), -1)


def part_of(module: str) -> str:
    """The part of the library that a module belongs to: ``playhead.client.jobs`` to ``client``."""
    return module.split(".")[1] if "." in module else "playhead"


# What is public


@pytest.mark.parametrize("name", [name for name in ph.__all__ if name != "__version__"])
def test_every_public_name_is_explained(name: str) -> None:
    """What `playhead` exports imports, is listed by dir(), and says what it is; so do its public methods."""
    assert name in dir(ph)
    value = getattr(ph, name)
    assert value.__doc__ and value.__doc__.strip(), f"{name} has no docstring"
    if inspect.isclass(value):
        own = [one for one in inspect.getmro(value) if one.__module__.split(".")[0] == "playhead"]
        assert value.__dict__.get("__doc__"), f"{name} has no docstring of its own"
        for method, what in ((key, what) for one in own for key, what in vars(one).items() if not key.startswith("_")):
            if inspect.isfunction(what) or isinstance(what, property | classmethod | staticmethod):
                assert inspect.getdoc(getattr(value, method)), f"{name}.{method} has no docstring"


def test_the_version_is_the_distributions() -> None:
    """`playhead.__version__` is what was installed."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ph.__version__ == declared == metadata.version("playhead")


def test_type_checkers_see_every_export() -> None:
    """What is imported late is also imported for type checkers, from the same place."""
    tree = ast.parse((ROOT / "package" / "playhead" / "__init__.py").read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname
    }  # fmt: skip
    assert seen.keys() == set(ph.__all__) - {"__version__"}
    for name, home in seen.items():
        assert getattr(ph, name) is getattr(sys.modules[home or ""], name)


def test_the_readme_shows_what_is_exported() -> None:
    """README.md names every export."""
    unnamed = [name for name in ph.__all__ if name != "__version__" and not re.search(rf"\b{name}\b", README)]
    assert unnamed == []


def test_every_module_says_what_it_owns() -> None:
    """Modules open with a docstring, are at most 400 lines, and leave nothing to be done later."""
    for name, path in modules().items():
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"
        assert text.count("\n") <= 400, f"{name} has {text.count(chr(10))} lines: split it"


# Which way imports point


def test_the_library_does_not_know_the_server() -> None:
    """`playhead` imports `playhead_server` only inside functions of the command line."""
    crossing = [one for one in all_imports() if one.source.startswith("playhead.") and one.target.startswith("playhead_server")]
    assert [str(one) for one in crossing if not (one.source.startswith("playhead.cli.") and one.is_lazy)] == []
    assert crossing, "`playhead serve` starts the server"


def test_imports_point_one_way() -> None:
    """events, errors, state <- recording <- client <- frames <- widgets, charts, demo <- cli, late imports too."""
    wrong = []
    for one in all_imports():
        if not one.source.startswith("playhead") or not one.target.startswith("playhead.") or one.source == "playhead":
            continue
        if one.source.startswith("playhead_server"):
            continue
        source, target = part_of(one.source), part_of(one.target)
        for part in (source, target):
            assert layer_of(part) >= 0, f"playhead.{part} has no place in LAYERS: give it one"
        if (source, target) == ("client", "frames") and (one.is_lazy or one.is_typing):
            continue  # frames come out of queries
        is_ground = layer_of(source) == layer_of(target) == 0
        if source != target and not is_ground and layer_of(target) >= layer_of(source):
            wrong.append(str(one))
    assert wrong == []


def test_the_public_names_are_imported_late() -> None:
    """`playhead/__init__.py` imports nothing of the library until it is asked for."""
    package = HOMES["playhead"] / "playhead" / "__init__.py"
    found = [one for one in imports_of("playhead", package) if one.target.startswith("playhead") and not one.is_typing]
    assert [str(one) for one in found] == []


def test_imports_have_no_cycle() -> None:
    """Modules can be ordered so that each imports only those before it."""
    known = modules()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for one in all_imports():
        if one.target in known and not one.is_lazy and not one.is_typing and one.target != "playhead":
            graph[one.source].add(one.target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_importing_playhead_is_light() -> None:
    """`import playhead` loads nothing heavy, `dir()` neither; a first use loads what it needs."""
    code = f"""
import sys, playhead
dir(playhead)
print(sorted({HEAVY} & sys.modules.keys()), "playhead.client" in sys.modules)
playhead.Event
print(sorted({HEAVY} & sys.modules.keys()))
playhead.Recording
print("duckdb" in sys.modules, "starlette" in sys.modules, "ipywidgets" in sys.modules)
""".replace(str(HEAVY), repr(set(HEAVY)))
    assert run_python(code).splitlines() == ["[] False", "[]", "True False False"]


def test_importing_does_nothing_else() -> None:
    """Every module imports, which starts no thread, reads no PLAYHEAD_ variable and opens no socket."""
    names = [name for name in modules() if not name.endswith("__main__")]
    code = f"""
import importlib, os, socket, sys, threading
touched = []
sys.addaudithook(lambda event, args: touched.append(event) if event in ("socket.connect", "socket.bind") else None)
class Environ(os.environ.__class__):
    def __getitem__(self, name):
        asks = sys._getframe(1)
        while asks.f_globals["__name__"] in ("os", "collections.abc", "_collections_abc"):
            asks = asks.f_back
        if str(name).startswith("PLAYHEAD_") and asks.f_globals["__name__"].startswith("playhead"):
            touched.append(name)  # others may copy all of it
        return super().__getitem__(name)
os.environ.__class__ = Environ
for name in {names}:
    importlib.import_module(name)
print(touched, [thread.name for thread in threading.enumerate() if "playhead" in thread.name])
"""
    assert run_python(code).splitlines() == ["[] []"]


# Dependencies


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, set[str]]:
    """What pyproject.toml asks for by name, under "" and each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {plain(re.split(r"[\[<>=!~ ;]", wanted)[0]) for wanted in group} - {"playhead"}
        for extra, group in groups.items()
    }  # fmt: skip


def test_what_is_imported_is_declared() -> None:
    """Each part imports distributions that its own extra asks for; at the top of a module, nothing else."""
    asked, homes = declared(), metadata.packages_distributions()
    anything = set().union(*asked.values())
    for one in all_imports():
        top = one.target.split(".")[0]
        if top in sys.stdlib_module_names or top in HOMES:
            continue
        extra = {"widgets": "notebook", "charts": "analysis"}.get(part_of(one.source), "")
        extra = "server" if one.source.startswith("playhead_server") else extra
        allowed = anything if one.is_lazy or one.is_typing else asked[""] | asked[extra]
        allowed |= asked["redis"] if one.source.startswith("playhead_server.cluster") else set()
        assert {plain(home) for home in homes[top]} & allowed, f"{one}, which pyproject.toml does not ask for there"


def test_tests_import_what_the_test_extra_brings() -> None:
    """Tests and benchmarks import nothing that is there by chance."""
    anything, homes = set().union(*declared().values()), metadata.packages_distributions()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for one in imports_of(path.stem, path):
            top = one.target.split(".")[0]
            if top not in sys.stdlib_module_names and top not in {*HOMES, "tests"}:
                found = {plain(home) for home in homes.get(top, [])}
                assert found & anything, f"{path.name} imports {top}, which pyproject.toml does not ask for"


def test_each_dependency_is_pinned_and_explained() -> None:
    """constraints.txt has the version that runs here of each direct dependency; CONTRIBUTING.md says why it is one."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    table = [line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("|")]
    words = {plain(word) for line in table for word in re.findall(r"[\w.-]+", line.split("|")[1])}
    wanted = set().union(*declared().values())
    assert sorted(wanted - pins.keys()) == [], "not in constraints.txt"
    assert sorted(pins.keys() - wanted) == [], "in constraints.txt for nothing"
    assert sorted(wanted - words) == [], "not in the table of CONTRIBUTING.md"
    assert {name: metadata.version(name) for name in pins} == pins


# What is documented


def calls() -> list[tuple[str, str]]:
    """Every method and path of the server."""
    found = []
    for route in ROUTES:
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"GET"}
        found += [(method, route.path) for method in sorted(methods)]
    return found


@pytest.mark.parametrize(("method", "path"), calls())
def test_every_call_is_in_the_readme(method: str, path: str) -> None:
    """README.md names each route with its method."""
    assert re.search(rf"`{method} {re.escape(path)}[`?]", README), f"{method} {path} is not in README.md"


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
def test_every_option_of_serve_is_in_the_readme(option: str, variables: list[str]) -> None:
    """README.md names each option of `playhead serve`, and the variable that does the same."""
    assert re.search(rf"`{option}[` ]", README), f"{option} is not in README.md"
    assert variables, f"{option} has no variable"
    assert [name for name in variables if f"`{name}`" not in README] == []


@pytest.mark.parametrize("option", [option for option, _ in options_of(commands()["replay"]) if option.startswith("--")])
def test_every_option_of_replay_is_in_the_readme(option: str) -> None:
    """README.md names each option of `playhead replay`."""
    assert re.search(rf"`{option}[` ]", README), f"{option} is not in README.md"


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_explained(name: str) -> None:
    """Each command is in README.md, and its --help says what it does and what each option is."""
    command = commands()[name]
    assert f"playhead {name}" in README, f"playhead {name} is not in README.md"
    assert command.help
    for given in command.params:
        assert given.name == "help" or getattr(given, "help", None), f"playhead {name}: {given.name} has no help"


def test_variables_in_the_readme_are_those_of_the_code() -> None:
    """Each PLAYHEAD_ variable that the code reads is in README.md, and the other way round."""
    name = re.compile(r"\bPLAYHEAD_[A-Z_]+\b")
    code = {found for path in modules().values() for found in name.findall(path.read_text())}
    assert code == set(name.findall(README))


# The README runs


# In one place: what of the README's examples is different here. What only Ctrl-C ends is left after its first answer.
ENDLESS = {"    print(event.type, event.data)\n": "    print(event.type, event.data)\n    break\n"}
ENDLESS_COMMANDS = ("playhead tail", "curl -N")
EXAMPLE_URL, EXAMPLE_PORT, EXAMPLE_TOKEN = "http://127.0.0.1:8765", "--port 8765", "$PLAYHEAD_TOKEN"
EXAMPLE_ID = "4f2a9c10"  # of a token that the line before has made


def blocks(language: str) -> list[str]:
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S) if found == language]


def lines_of_shell() -> list[str]:
    """Those that are run one after the other; a block that starts something that stays is run whole."""
    found = [block for block in blocks("sh") if not re.search(r" &$", block, re.M)]
    return [line for block in found for line in block.splitlines() if line and not line.startswith("#")]


def test_every_block_of_the_readme_says_what_it_is() -> None:
    """A fenced block is ```sh or ```python, so that the tests below run it."""
    assert set(re.findall(r"^```(\w*)\n.*?^```$", README, re.M | re.S)) == {"sh", "python"}


def test_the_python_of_the_readme_runs(server: Running, tmp_path: Path) -> None:
    """The README's Python, block after block in one program, against a real server while events go on."""
    code = "".join(blocks("python"))
    for written, here in ENDLESS.items():
        assert written in code
        code = code.replace(written, here)
    for name in set(re.findall(r'"(\w+\.playhead)"', code)):
        with ph.connect(tmp_path / name) as recording:
            recording.publish({"type": "batch_started", "batchId": "earlier"})
            assert recording.flush(10)
    is_over = threading.Event()

    def publish() -> None:
        while not is_over.wait(0.05):
            server.recording.append([{"type": "job_log", "jobId": "later"}])

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        strict = ["-W", "error", "-W", "ignore:The inplace keyword"]  # Dask asks pandas 3.1 for what goes away
        ran = subprocess.run([sys.executable, *strict, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    finally:
        is_over.set()
        publisher.join()
    assert ran.returncode == 0, ran.stderr
    assert "job_" in ran.stdout, "follow printed nothing"
    assert server.recording.stats()["events"] > 4


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))


def test_every_make_target_that_is_named_exists() -> None:
    """What README.md, CONTRIBUTING.md and .PHONY call a target is one."""
    text = README + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:`|^)make (\w+)", text, re.M))
    for line in re.findall(r"^\.PHONY:(.*)", (ROOT / "Makefile").read_text(), re.M):
        named |= set(line.split())
    assert {"demo", "test", "lab", "lint", "bench"} <= named
    assert sorted(named - make_targets()) == []


def run_line(line: str, cwd: Path, env: dict[str, str]) -> str:
    """Run a command; one that has no end is interrupted after its first line."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {line}"], cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        guard = threading.Timer(30, running.kill)
        guard.start()
        try:
            assert running.stdout is not None and running.stderr is not None
            if line.startswith(ENDLESS_COMMANDS):
                said = running.stdout.readline()
                running.send_signal(signal.SIGINT)
                assert said, f"{line}: {running.stderr.read()}"
                running.communicate()
            else:
                said, failure = running.communicate()
                assert running.returncode == 0, f"{line}: {said}{failure}"
        finally:
            guard.cancel()
    return said


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """The README's shell lines, one after the other, against `playhead serve` in a process of its own."""
    lines = lines_of_shell()
    targets = make_targets()
    serving = [line for line in lines if line.startswith("playhead serve")]
    assert len(serving) == 1 and EXAMPLE_PORT in serving[0]
    recording = serving[0].split()[2]
    env = os.environ | {"PLAYHEAD_TOKEN": TOKEN, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    is_over = threading.Event()
    with process(tmp_path / recording) as server, ph.connect(server.url, token=TOKEN) as client:
        client.publish([{"type": "job_started", "jobId": "j", "executionId": "X", "timestamp": "2000-01-01T00:00:00Z"}])
        assert client.flush(10)

        def publish() -> None:
            while not is_over.wait(0.05):
                client.publish({"type": "job_log", "jobId": "j", "executionId": "X"})

        publisher = threading.Thread(target=publish)
        publisher.start()
        said = {}
        try:
            for line in lines:
                if line.startswith("make "):
                    assert line.split()[1] in targets
                elif line not in serving:
                    line = line.replace(EXAMPLE_URL, server.url).replace("curl ", "curl -sS --fail ", 1)
                    line = line.replace("curl -sS --fail -N", "curl -N -sS --fail")
                    if EXAMPLE_ID in line:
                        kept = json.loads((tmp_path / recording / "tokens.json").read_text())
                        line = line.replace(EXAMPLE_ID, kept["tokens"][0]["id"])
                    said[line.split("#")[0].strip()] = run_line(line, tmp_path, env)
        finally:
            is_over.set()
            publisher.join()
    answers = {line: text for line, text in said.items() if line.startswith("curl")}
    assert len(answers) >= 3 and all(EXAMPLE_TOKEN in line for line in answers)
    for line, text in answers.items():
        if "-X DELETE" in line:
            assert json.loads(text) == {"deleted": 1}
        elif not line.startswith(ENDLESS_COMMANDS):
            assert json.loads(text)["events"][0]["executionId"] == "X"


def test_many_servers_by_hand(tmp_path: Path) -> None:
    """The README's Redis, two servers and nginx, as it says, on other ports; an event published is in `playhead tail`."""
    (script,) = [block for block in blocks("sh") if "nginx" in block]
    ports = {port: str(free_port()) for port in ("6379", "8771", "8772", "8765")}
    for written, here in ports.items():
        assert written in script
        script = script.replace(written, here)
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"}
    headers = {"X-Playhead-Token": str(re.findall("PLAYHEAD_TOKEN=(\\S+)", script)[0])}
    with (
        (tmp_path / "err").open("wb") as err,
        subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=err,
                         start_new_session=True) as running,
    ):  # fmt: skip
        try:
            assert running.stdout is not None
            url, end = f"http://127.0.0.1:{ports['8765']}/api/events", time.monotonic() + 40
            said = ""
            with selectors.DefaultSelector() as waiting:
                waiting.register(running.stdout, selectors.EVENT_READ)
                while '"job_log"' not in said:
                    assert time.monotonic() < end, said + (tmp_path / "err").read_text()
                    with contextlib.suppress(httpx.HTTPError):
                        httpx.post(url, json={"type": "job_log", "jobId": "j"}, headers=headers)
                    while waiting.select(0.2):
                        said += os.read(running.stdout.fileno(), 4096).decode()
            logs = [httpx.get(f"http://127.0.0.1:{ports[one]}/api/stats", headers=headers).json() for one in ("8771", "8772")]
            assert logs[0]["epoch"] == logs[1]["epoch"] and all(one["cluster"]["reason"] is None for one in logs)
        finally:
            os.killpg(running.pid, signal.SIGTERM)


# What is in the repository


def test_the_repository_speaks_of_itself_alone() -> None:
    """No file holds a promise to do it later, the path of somebody's machine, or the address of a package registry."""
    promise = re.compile(r"\b(TODO|FIXME|XXX)\b")
    place = re.compile(r"(?<![\w.])/(work|root|home|Users)/\w|file:///\w|pythonhoste[d]\.org|pyp[i]\.org|npmj[s]\.(org|com)")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if promise.search(line) or place.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    assert found == []
