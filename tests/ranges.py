"""
The dependencies at the lowest and at the newest version that pyproject.toml allows: a part of the suite with each.

    python -m tests.ranges [--only lowest|newest] [--keep DIR]

Each is a fresh environment with playhead, its extras but those of notebooks, and what these tests need. Prints what was
installed where it is not what constraints.txt records, and ends with status 1 when a test fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_EXTRAS = ("server", "redis", "analysis", "dask")
_TOOLS = (
    "pytest>=9,<10", "pytest-asyncio>=1.2,<2", "pytest-timeout>=2.3", "hypothesis>=6.120", "cryptography>=43", "polars>=1.20",
    "ipywidgets>=8.1,<9", "anywidget>=0.9.18,<1",
)  # fmt: skip
_TESTS = (
    "test_recording", "test_history", "test_http", "test_websocket", "test_publish", "test_follow", "test_frames",
    "test_charts", "test_questions", "test_spread", "test_access", "test_command_line", "test_state",
)  # fmt: skip
_NAME = re.compile(r"([A-Za-z0-9-]+)(?:\[[^]]*\])?\s*(.*)")


def requirements() -> dict[str, str]:
    """Each dependency of the extras that are tested here, and its range."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in _EXTRAS for one in project["optional-dependencies"][extra])]
    return {found[1].lower(): found[2] for found in map(_NAME.match, wanted) if found is not None}


def lowest() -> dict[str, str]:
    """The lowest version of each range."""
    return {name: low[1] for name, told in requirements().items() if (low := re.search(r">=\s*([\w.]+)", told)) is not None}


def versions(listed: str) -> dict[str, str]:
    """What ``name==version`` lines say."""
    lines = (line.partition("==") for line in listed.splitlines())
    return {name.lower().replace("_", "-"): version for name, _, version in lines if version}


def run(folder: Path, which: str) -> bool:
    """Whether the tests pass with the lowest or the newest versions."""
    home = folder / which
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = home / "bin" / "python"
    pins = folder / f"{which}.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in lowest().items()) if which == "lowest" else "")
    install = [python, "-m", "pip", "-qq", "--disable-pip-version-check", "install", "-c", pins]
    subprocess.run([*install, "-e", f"{ROOT}[{','.join(_EXTRAS)}]", *_TOOLS], check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True).stdout
    found, recorded = versions(listed), versions((ROOT / "constraints.txt").read_text())
    others = [f"{name} {found[name]}" for name in requirements() if found[name] != recorded.get(name)]
    print(f"{which}: {', '.join(others) or 'as constraints.txt records'}", flush=True)
    tests = [f"tests/{name}.py" for name in _TESTS]
    quiet = ["-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]  # of versions that nobody mends any more
    return subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *quiet, *tests], cwd=ROOT).returncode == 0


def main() -> None:
    """Both, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("lowest", "newest"))
    parser.add_argument("--keep", type=Path, metavar="DIR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = [run(args.keep or Path(folder), which) for which in ("lowest", "newest") if args.only in (None, which)]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
