"""
Publish to a visible cell of a real JupyterLab while its kernel is busy in a Python loop: latency percentiles.

    python tests/benchmarks/bench_cell.py [--rate 100] [--seconds 20] [--idle]

A server, a publisher and the kernel are processes of their own. Each event carries the time of the publishing call; a
MutationObserver in the page takes the time at which the row of a `LiveGrid` shows it. Events that a later one overtakes
before a frame is drawn count as shown by that frame. Prints one line.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser.jupyter import GRID, Notebook, book_of, chromium, jupyterlab  # noqa: E402
from tests.conftest import TOKEN, process  # noqa: E402

_PUBLISH = """
import sys, time
import playhead as ph
url, token, rate, total = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
with ph.connect(url, token=token) as client:
    client.publish({"type": "job_started", "batchId": "bench", "jobId": "bench"})
    client.flush()
    begun = time.time()
    for n in range(total):
        pause = begun + n / rate - time.time()
        if pause > 0:
            time.sleep(pause)
        client.publish({"type": "job_progress", "batchId": "bench", "jobId": "bench",
                        "data": {"currentStep": f"{n} {time.time() * 1000:.3f}"}})
"""
_OBSERVE = """selector => {
  window.seen = [];
  const root = document.querySelector(selector);
  new MutationObserver(() => {
    const now = performance.timeOrigin + performance.now();
    const text = root.querySelector('[data-job] .ph-step')?.textContent;
    if (text && text !== window.seen.at(-1)?.[1]) window.seen.push([now, text]);
  }).observe(root, {subtree: true, childList: true, characterData: true});
}"""


def shown(rate: float, seconds: float, *, is_busy: bool, folder: Path) -> list[float]:
    """Milliseconds from the publishing call to the page, an event at a time."""
    total = int(rate * seconds)
    loop = f"import time\nend = time.time() + {seconds + 30}\nwhile time.time() < end: sum(range(1000))" if is_busy else "1"
    with process(folder / "bench.playhead") as server, jupyterlab(folder) as lab, chromium() as browser:
        connect = f"import playhead as ph\nclient = ph.connect({server.url!r}, token={TOKEN!r})"
        name = "bench.ipynb"
        (lab.work / name).write_text(_text(book_of(connect, "ph.LiveGrid(client, batch_id='bench')", loop)))
        notebook = Notebook(lab, browser.new_page(), name)
        notebook.run()
        notebook.page.wait_for_selector(f'{GRID}[data-connection="connected"]', timeout=60_000)
        notebook.page.evaluate(_OBSERVE, GRID)
        command = [sys.executable, "-c", _PUBLISH, server.url, TOKEN, str(rate), str(total)]
        with subprocess.Popen(command) as publisher:
            publisher.wait(seconds + 30)
        notebook.page.wait_for_function(f"() => window.seen.at(-1)?.[1].startsWith('{total - 1} ')", timeout=20_000)
        if is_busy and not notebook.is_busy():
            raise SystemExit("the kernel was not busy to the end")
        seen = notebook.page.evaluate("() => window.seen")
        frames = [(at, int(text.split()[0])) for at, text in seen]
        sent = {n: float(text.split()[1]) for (_, text), (_, n) in zip(seen, frames, strict=True)}
    found: list[float] = []
    last = -1
    for at, n in frames:
        for older in range(last + 1, n + 1):  # those overtaken were sent at their turn, by the same clock
            found.append(at - sent[n] + (n - older) * 1000 / rate)
        last = n
    return found


def _text(book: object) -> str:
    import nbformat

    return str(nbformat.writes(book))


def main() -> None:
    """Run it and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100, help="events a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--idle", action="store_true", help="leave the kernel idle")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = sorted(shown(asked.rate, asked.seconds, is_busy=not asked.idle, folder=Path(folder)))
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    print(
        f"publish to cell at {asked.rate:g}/s, kernel {'idle' if asked.idle else 'busy'}, n={len(found):,}: "
        f"p50 {p50:.0f} ms, p99 {p99:.0f}, max {found[-1]:.0f}"
    )


if __name__ == "__main__":
    main()
