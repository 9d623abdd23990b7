"""
Every parser under atheris, which goes where the code goes: bytes give events, a value, or an error of ours, and nothing else.

    pip install atheris
    python -m tests.fuzz_parsers [--seconds 60] [--only NAME]

Each parser has a process and a time of its own; a corpus begins with what is right. Ends with status 1 where something else was
raised, and prints what was read.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from starlette.datastructures import QueryParams

from playhead.bodies import MEDIA_TYPES, parse_body, parse_message
from playhead.errors import PlayheadError
from playhead.events import Cursor, Filter
from playhead.files.reading import KINDS, Source, kind_of, read
from playhead.times import duration_s, parse_time
from playhead_server import params
from tests.mutations import Maker
from tests.test_imports import WHOLE

_HOME = Path(tempfile.gettempdir())


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _message(data: bytes) -> None:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(told, dict):
        parse_message(told.get("events"))
        params.filter_of_message(told.get("filter"), None)


def _query(data: bytes) -> Filter:
    return params.filter_of(QueryParams(_text(data)), None)


def _kind(data: bytes) -> object:
    path = _HOME / "playhead-fuzzed"
    path.write_bytes(data)
    return kind_of(path)


def _file(kind: str, packed: str = "") -> Callable[[bytes], object]:
    path = _HOME / f"playhead-fuzzed.{kind}{packed}"

    def read_it(data: bytes) -> object:
        path.write_bytes(data)
        return sum(1 for _ in read(Source(path, kind, Counter())))

    return read_it


def _body(kind: str) -> Callable[[bytes], object]:
    return lambda data: parse_body(data, kind)


PARSERS: dict[str, Callable[[bytes], object]] = {
    **{f"body {kind}": _body(kind) for kind in MEDIA_TYPES},
    "message": _message,
    "query": _query,
    "cursor": lambda data: Cursor.parse(_text(data)),
    "time": lambda data: parse_time(_text(data)),
    "duration": lambda data: duration_s(_text(data)),
    **{f"file {kind}": _file(kind) for kind in KINDS},
    **{f"file ndjson{packed}": _file("ndjson", packed) for packed in (".gz", ".xz", ".zst")},
    "kind of a file": _kind,
}


def corpus(name: str, folder: Path) -> None:
    """What is right, and nearly right, to begin with."""
    maker = Maker("1")
    made: list[bytes] = [maker.body()[0] for _ in range(40)]
    made += [json.dumps({"op": "publish", "events": [maker.event()], "filter": {"batchId": "b"}}).encode() for _ in range(5)]
    made += [b"k3f9:1041", b"2026-11-23T18:00:00.123456Z", b"30d", b"batchId=b&type=job_failed&after=k3f9:1"]
    made += [text.encode() for text in WHOLE.values()] if "file" in name else []
    for number, data in enumerate(made):
        (folder / str(number)).write_bytes(data)


def fuzz(name: str, seconds: int) -> None:
    """Run one parser in this process, which it ends."""
    atheris: Any = importlib.import_module("atheris")
    parser = PARSERS[name]

    def once(data: bytes) -> None:
        try:
            parser(data)
        except ValueError as error:  # every PlayheadError about what is given is one, too
            if len(str(error)) < 5 or type(error) is UnicodeDecodeError:
                raise
        except PlayheadError:
            return

    with tempfile.TemporaryDirectory() as folder:
        corpus(name, Path(folder))
        for function in _ours():
            atheris.instrument_func(function)
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, folder], once)
        atheris.Fuzz()


def _ours() -> Iterator[FunctionType]:
    """The functions of our modules, and those of their classes: where the fuzzer looks which way was taken."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("playhead", "playhead_server"):
            homes = [module, *(one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == name)]
            for home in homes:
                yield from (one for one in vars(home).values() if inspect.isfunction(one) and one.__module__ == name)


def main() -> None:
    """Each parser in turn."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--only", choices=PARSERS)
    args = arguments.parse_args()
    if args.only:
        fuzz(args.only, args.seconds)
        return
    failed = []
    for name in PARSERS:
        command = [sys.executable, "-m", "tests.fuzz_parsers", "--seconds", str(args.seconds), "--only", name]
        ran = subprocess.run(command, capture_output=True, text=True)
        done = [line for line in ran.stderr.splitlines() if line.startswith("stat::number_of_executed")]
        print(f"{name}: {done[-1].split()[-1] + ' runs' if ran.returncode == 0 and done else ran.stderr[-3000:]}", flush=True)
        failed += [name] if ran.returncode else []
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
