"""The shape of the house: exports, which way imports point, dependencies, what is in the repository."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

import playhead as ph

ROOT = Path(__file__).parents[1]
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
