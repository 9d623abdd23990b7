"""
Widgets at full size in a real JupyterLab: frames, messages and the kernel's threads; loading, seeking and playing a replay.

    python tests/benchmarks/bench_widgets.py [--only grid|many|replay|busy] [--seconds 10] [--rounds 3] [--keep DIR]

The server, the publisher and the kernel are processes of their own, the page is headless Chromium's. Prints one table.

grid, many
    A `LiveGrid` with that many executions, of which a tenth is running: they are told of in turn, one event in a hundred is an
    end, and then the next execution starts. Events come as a request each 50 ms. Frames are those of requestAnimationFrame;
    messages are what the kernel sends for the widget, counted where the page's WebSocket takes them, the table beside the live
    view included. A thread's share of a core is what /proc says it used. Medians of the rounds, each ``--seconds`` long.
replay
    A `ReplayPlayer` on a recording that was there before, made once and kept in ``--keep``. Loading counts from the command
    that runs the cell to the frame in which the position is that of the last event; the first time imports the widgets too. A
    seek is the handler of the slider's ``input`` and all animation callbacks of the next frame, not the wait for that frame. A
    step while it plays at 1000x is what one frame shows more than the one before it, against the clock's ticks between them.
busy
    `bench_cell.shown`: from the publishing call to the page while the kernel is in a Python loop.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import nbformat
from playwright.sync_api import Browser, Error, Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import playhead as ph  # noqa: E402
from tests.benchmarks._page import LIVE, LOAD, PLAY, SEEK, WATCH, Threads  # noqa: E402
from tests.benchmarks._report import percentile, say  # noqa: E402
from tests.benchmarks.bench_cell import shown  # noqa: E402
from tests.browser.jupyter import GRID, PLAYER, Lab, Notebook, book_of, chromium, jupyterlab  # noqa: E402
from tests.browser.pages import connect, event  # noqa: E402
from tests.conftest import TOKEN, process  # noqa: E402

_TICK_S = 0.05
_STEPS = ("navigate", "login", "search", "open_listing", "extract", "paginate", "validate", "screenshot", "submit_form", "wait")
_AT_ONCE = 200  # jobs of the recording that run at the same time
_GAP_S = 0.0144  # between two of its events: a million take four hours
_GROUP = 10_000
_ARCHIVED_S = 20 * 3600  # a recording older than a day is archived, and slower to read: it is made anew before
_LIMIT_MS = 120_000

_PUBLISH = """
import http.client, json, sys, time, urllib.parse
from tests.benchmarks.bench_widgets import bodies
url, token, rows, rate, seconds, tick = sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:])
ready = bodies(rows, round(rate * tick), round(seconds / tick))
server = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
def post(body):
    server.request("POST", "/api/events", body, headers)
    answer = server.getresponse()
    assert answer.status < 300, answer.read()
    answer.read()
print("begins", flush=True)
begun = time.monotonic()
for n, body in enumerate(ready):
    time.sleep(max(0, begun + n * tick - time.monotonic()))
    post(body)
took = max(seconds, time.monotonic() - begun)
last = time.time() * 1000
post(json.dumps({"type": "job_failed", "batchId": "b", "jobId": "the last", "executionId": "the last"}).encode())
print(json.dumps({"rate": rate * seconds / took, "last": last}), flush=True)
"""
class Line(NamedTuple):
    """A row of the table."""

    what: str
    asked: str
    got: str


def line(what: str, got: float, form: str, *, least: float | None = None, most: float | None = None) -> Line:
    """One figure, and whether it is what was asked for."""
    bounds = [f">= {form.format(least)}" if least is not None else "", f"<= {form.format(most)}" if most is not None else ""]
    is_missed = (least is not None and got < least) or (most is not None and got > most)
    return Line(what, " ".join(filter(None, bounds)), form.format(got) + (" (missed)" if is_missed else ""))


def going_on(rows: int) -> Iterator[dict[str, Any]]:
    """What happens to the tenth that is running, in turn, without end; the others wait to be next."""
    dice = random.Random(1)
    slots = list(range(rows // 10))
    is_over = [False] * len(slots)
    following = len(slots)
    turn = 0
    while True:
        turn += 1
        for slot, job in enumerate(slots):
            if is_over[slot]:
                slots[slot], is_over[slot], following = following % rows, False, following + 1
                yield event("started", f"job {slots[slot]}")
            elif dice.random() < 0.01:
                is_over[slot] = True
                yield event("completed", f"job {job}", progressPercentage=100)
            else:
                yield event("progress", f"job {job}", **_progress(job, turn))


def bodies(rows: int, size: int, n: int) -> list[bytes]:
    """The same, encoded: events come from other machines, so making them takes nothing of this one while it is measured."""
    events = going_on(rows)
    encode = msgspec.json.Encoder().encode
    return [b"\n".join(encode(next(events)) for _ in range(size)) for _ in range(n)]


def _progress(job: int, step: int) -> dict[str, object]:
    url = f"https://www.site-{job % 2000}.example.com/catalog/{job}?page={step // 10}"
    return {"progressPercentage": step % 100, "currentStep": _STEPS[(step + job) % 10], "currentUrl": url}


def recorded(length: int, jobs: int) -> Iterator[dict[str, Any]]:
    """A batch of that many events, with its jobs in 200 rows: about as many events each, between those of the others."""
    dice = random.Random(1)
    begun = datetime(2026, 10, 1, tzinfo=UTC)
    rows = [_row(dice, range(first, jobs, _AT_ONCE), length // jobs) for first in range(_AT_ONCE)]
    for n in range(length):
        found = next(rows[n % _AT_ONCE])
        found["timestamp"] = (begun + timedelta(seconds=n * _GAP_S)).isoformat()
        yield found


def _row(dice: random.Random, jobs: Sequence[int], size: int) -> Iterator[dict[str, Any]]:
    sizes: list[int] = []
    while len(sizes) < len(jobs):
        more = dice.randint(-2 * size // 5, 2 * size // 5)
        sizes += [size + more, size - more]
    sizes[len(jobs) - 1 :] = [size * len(jobs) - sum(sizes[: len(jobs) - 1])]
    for job, events in zip(jobs, sizes, strict=True):
        yield event("queued", f"job {job}", goal=f"campaign {job % 200}", siteName=f"Site Number {job % 2000}")
        yield event("started", f"job {job}")
        for step in range(events - 3):
            yield event("progress", f"job {job}", **_progress(job, 100 * step // events))
        is_failed = dice.random() < 0.07
        yield event("failed" if is_failed else "completed", f"job {job}", **({"error": "TimeoutError"} if is_failed else {}))


def record(path: Path, events: Iterator[dict[str, Any]]) -> None:
    """Make a recording of events."""
    with ph.Recording.open(path, retention_s=3650 * 86400.0) as recording:
        group: list[dict[str, Any]] = []
        for one in events:
            group.append(one)
            if len(group) == _GROUP:
                recording.append(group)
                group = []
        if group:
            recording.append(group)


def waiting(rows: int) -> Iterator[dict[str, Any]]:
    """The executions of a grid before it begins: a tenth runs."""
    for n in range(rows):
        yield event("queued", f"job {n}", siteName=f"Site Number {n % 2000}", goal=f"campaign {n % 200}")
        if n < rows // 10:
            yield event("started", f"job {n}")


class Stage:
    """A JupyterLab and a Chromium for all parts that share them, and what the pages complained of."""

    def __init__(self, lab: Lab, browser: Browser) -> None:
        self._lab, self._browser = lab, browser
        self.errors: list[str] = []

    @contextmanager
    def notebook(self, name: str, *cells: str) -> Iterator[Notebook]:
        """A notebook in a page that is watched; its kernel ends with it."""
        nbformat.write(book_of(*cells), self._lab.work / f"{name}.ipynb")
        context = self._browser.new_context(viewport={"width": 1280, "height": 1400})
        context.add_init_script(f"({WATCH})()")
        notebook = Notebook(self._lab, context.new_page(), f"{name}.ipynb")
        try:
            yield notebook
        finally:
            self.errors += notebook.errors
            end = "() => jupyterapp.shell.currentWidget.sessionContext.shutdown()"
            notebook.page.evaluate(end)
            context.close()


def live(stage: Stage, folder: Path, rows: int, rate: int, asked: argparse.Namespace, *, is_large: bool) -> Iterator[Line]:
    """A grid with many executions while they change."""
    recording = folder / f"{rows}.playhead"
    record(recording, waiting(rows))
    name = f"{rows:,} executions, {rate:,} events/s"
    with (
        process(recording) as server,
        stage.notebook(f"grid {rows}", connect(server.url), "ph.LiveGrid(client, batch_id='b', max_display=20)") as nb,
    ):
        nb.run()
        filled = f"() => document.querySelector('{GRID} .ph-total')?.textContent === '{rows:,} executions'"
        nb.page.wait_for_function(filled, timeout=_LIMIT_MS)
        nb.wait_until_done()
        nb.page.wait_for_timeout(3000)
        threads = Threads(nb)
        nb.page.evaluate("selector => bench.watch(document.querySelector(selector))", GRID)
        length = asked.seconds * asked.rounds + 3
        command = [sys.executable, "-c", _PUBLISH, server.url, TOKEN, str(rows), str(rate), str(length), str(_TICK_S)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as publisher:
            assert publisher.stdout is not None
            assert publisher.stdout.readline() == "begins\n"
            nb.page.wait_for_timeout(2000)
            rounds, shares = _rounds(nb.page, threads, asked.rounds, asked.seconds)
            shown_at = nb.page.evaluate(f"""async () => {{
              await bench.until(() => document.querySelector('{GRID} [data-job="the last"]'));
              return Date.now();
            }}""")
            told = json.loads(publisher.stdout.readline())

    def middle(part: str) -> float:
        return median(one[part] for one in rounds)

    yield line(f"{name}: published, events/s", told["rate"], "{:,.0f}", least=0.98 * rate)
    yield line("  frames/s", middle("frames"), "{:.1f}", least=30 if is_large else 50)
    yield line("  frames/s in which rows changed", middle("drawn"), "{:.1f}")
    yield line("  longest task in the page, ms", max(one["longest"] for one in rounds), "{:.0f}")
    yield line("  messages/s to the browser", middle("messages"), "{:.1f}", most=None if is_large else 20)
    yield line("  KB/s to the browser", middle("kilobytes"), "{:.0f}", most=None if is_large else 500)
    yield line("  the last event, published to shown, ms", shown_at - told["last"], "{:.0f}")
    for part in ("the widget's thread", "the client's thread", "the main thread", "all other threads"):
        most = 30 if is_large and not part.startswith("all") else None
        yield line(f"  {part} in the kernel, % of a core", 100 * median(one[part] for one in shares), "{:.1f}", most=most)


def _rounds(page: Page, threads: Threads, rounds: int, seconds: float) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """What the page counted in each round, and which share of a core each of the kernel's threads had."""
    counted, shares = [], []
    for _ in range(rounds):
        before, begun = threads.used(), time.monotonic()
        page.evaluate("() => { bench.begin() }")
        page.wait_for_timeout(seconds * 1000)
        counted.append(page.evaluate("() => bench.end()"))
        took, after = time.monotonic() - begun, threads.used()
        shares.append(Counter({part: (after[part] - before[part]) / took for part in after}))
    return counted, shares


def grid(stage: Stage, folder: Path, asked: argparse.Namespace) -> Iterator[Line]:
    """A tenth of the executions, 20 times a second each."""
    yield from live(stage, folder, asked.rows, asked.rows * 2, asked, is_large=False)


def many(stage: Stage, folder: Path, asked: argparse.Namespace) -> Iterator[Line]:
    """Ten times as many."""
    yield from live(stage, folder, asked.many, asked.many // 10, asked, is_large=True)


def replay(stage: Stage, folder: Path, asked: argparse.Namespace) -> Iterator[Line]:
    """A player of a long recording."""
    recording = (asked.keep or folder) / f"{asked.events}-{asked.jobs}.playhead"
    if recording.exists() and time.time() - recording.stat().st_mtime > _ARCHIVED_S:
        shutil.rmtree(recording)
    if not recording.exists():
        say(f"records {asked.events:,} events in {recording}")
        draft = recording.with_name(f"draft-{recording.name}")
        shutil.rmtree(draft, ignore_errors=True)
        record(draft, recorded(asked.events, asked.jobs))
        draft.rename(recording)
    dice = random.Random(1)
    with process(recording) as server, stage.notebook("replay", "player = ph.ReplayPlayer(client, batch_id='b')\nplayer") as nb:
        nb.ask(f"{connect(server.url)}\nprint(client.events(batch_id='b').count())")
        loads = []
        for _ in range(asked.rounds):
            loads.append(nb.page.evaluate(LOAD, [PLAYER, asked.events, _LIMIT_MS]))
            nb.page.wait_for_selector(f'{PLAYER}[data-connection="connected"]', timeout=_LIMIT_MS)
            nb.wait_until_done()
            nb.page.wait_for_timeout(4000)
        position, executions = nb.player.get_attribute("data-position"), nb.player.locator(".ph-total").inner_text()
        assert (position, executions) == (str(asked.events), f"{asked.jobs:,} executions"), (position, executions)
        seeks = nb.page.evaluate(SEEK, [PLAYER, [dice.random() * 10_000 for _ in range(asked.seeks)]])
        lives = [nb.page.evaluate(LIVE, [PLAYER, dice.random() * 10_000]) for _ in range(5 * asked.rounds)]
        frames = nb.page.evaluate(PLAY, [PLAYER, asked.play])
    name = f"{asked.events:,} events, {asked.jobs:,} executions"
    yield line(f"{name}: loaded, ms", median(loads), "{:,.0f}", most=3000)
    yield line("  the first time, ms", loads[0], "{:,.0f}")
    scripts = [one["handled"] + one["drawn"] for one in seeks]
    yield line(f"  {len(seeks)} seeks, script p50, ms", median(scripts), "{:.1f}")
    yield line("  p99", percentile(scripts, 0.99), "{:.1f}", most=16)
    yield line("  p99 of the handler", percentile([one["handled"] for one in seeks], 0.99), "{:.1f}")
    yield line("  p99 of the frame", percentile([one["drawn"] for one in seeks], 0.99), "{:.1f}")
    yield line("  p99 of layout after it", percentile([one["laid"] for one in seeks], 0.99), "{:.1f}")
    yield line("  back to live, ms", median(lives), "{:.0f}", most=100)
    yield line("  the slowest", max(lives), "{:.0f}", most=100)
    steps = [(b["at"] - a["at"], b["tick"] - a["tick"]) for a, b in pairwise(frames) if b["at"] != a["at"]]
    played, took = frames[-1]["at"] - frames[0]["at"], (frames[-1]["tick"] - frames[0]["tick"]) / 1000
    yield line("  played at 1000x, recorded seconds a second", played / took, "{:.1f}", least=999, most=1001)
    yield line("  the largest step between two frames, recorded s", max(step for step, _ in steps), "{:.1f}")
    past = max(step - ms for step, ms in steps)  # a millisecond of the clock is a recorded second
    yield line("  the most that a step is past 1000 x its ticks, recorded s", past, "{:.2f}", most=1)
    yield line("  frames/s that moved", len(steps) / took, "{:.1f}")


def busy(folder: Path, asked: argparse.Namespace) -> Iterator[Line]:
    """From the publishing call to the page while the kernel computes."""
    home = folder / "busy"
    home.mkdir()
    found = shown(1000, asked.seconds, is_busy=True, folder=home)
    yield line("kernel busy, 1,000 events/s: published to shown, p50, ms", percentile(found, 0.5), "{:.0f}", most=60)
    yield line("  p99", percentile(found, 0.99), "{:.0f}", most=150)
    yield line("  max", max(found), "{:.0f}")


Part = Callable[[Stage, Path, argparse.Namespace], Iterator[Line]]


def _lines(name: str, part: Callable[[], Iterator[Line]]) -> list[Line]:
    """A part's rows; one that could not be measured says so, and the others are."""
    say(name)
    try:
        return list(part())
    except (Error, AssertionError) as error:
        return [Line(name, "", f"not measured: {str(error).partition(chr(10))[0][:200]}")]


def main() -> None:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("grid", "many", "replay", "busy"), help="this part alone")
    parser.add_argument("--seconds", type=float, default=10, help="how long a round is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000, help="executions of the grid")
    parser.add_argument("--many", type=int, default=100_000, help="executions of the large grid")
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the recording")
    parser.add_argument("--jobs", type=int, default=10_000, help="executions of the recording")
    parser.add_argument("--seeks", type=int, default=300)
    parser.add_argument("--play", type=float, default=5, help="seconds of playing")
    parser.add_argument("--keep", type=Path, help="where the recording is kept for the next time")
    asked = parser.parse_args()
    parts: dict[str, Part] = {"grid": grid, "many": many, "replay": replay}
    table: list[Line] = []
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["PLAYHEAD_RUNTIME_DIR"] = str(folder / "runtime")
        if asked.keep:
            asked.keep.mkdir(parents=True, exist_ok=True)
        if asked.only != "busy":
            home = folder / "jupyter"
            home.mkdir()
            with jupyterlab(home) as lab, chromium() as browser:
                stage = Stage(lab, browser)
                for name, part in parts.items():
                    if asked.only in (None, name):
                        table += _lines(name, lambda part=part: part(stage, folder, asked))  # type: ignore[misc]
                errors = stage.errors
        if asked.only in (None, "busy"):
            table += _lines("busy", lambda: busy(folder, asked))
    rows = [Line("what", "asked", "got"), *table]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for error in errors:
        print(f"the page complained: {error}")


if __name__ == "__main__":
    main()
