"""``playhead demo``: real work on real input, through a real server, live in the terminal."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from playhead.cli.table import table
from playhead.client import connect
from playhead.client.api import Client
from playhead.demo import about, audit, distributions
from playhead.events import Event
from playhead.state import Executions


def demo(
    recording: Annotated[Path, typer.Argument(help="Where to leave the recording.")] = Path("demo.playhead"),
    limit: Annotated[int | None, typer.Option(help="Audit so many distributions at most.")] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Audit the Python distributions installed here, a job each, and watch it live; leaves a recording."""
    try:
        from playhead_server.server import Settings, running
    except ModuleNotFoundError as error:
        raise ValueError(f"the demo needs {error.name}: pip install 'playhead[server]'") from None
    console = Console()
    wanted = distributions()[:limit]
    batch = f"audit {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with running(Settings(recording=recording, port=0, log_level="warning", write_discovery=False)) as server:
        console.print(f"auditing {len(wanted)} distributions as batch {batch!r} through {server.url}", soft_wrap=True)
        executions, lock = Executions(), threading.Lock()
        is_over = threading.Event()

        def take(events: list[Event], cursor: str) -> None:
            with lock:
                for event in events:
                    executions.apply(event)
            if any(event.type == "batch_completed" for event in events):
                is_over.set()

        with connect(server.url, token=server.token) as client:
            watch = client.watch(on_events=take, after="start", batch_id=batch)
            with Live(console=console, refresh_per_second=8, transient=True) as live:
                stop = threading.Event()

                def draw() -> None:
                    while not stop.wait(0.125):
                        with lock:
                            live.update(table(executions, "live", max(5, console.height - 6)))

                painter = threading.Thread(target=draw, daemon=True)
                if console.is_terminal:
                    painter.start()
                results = _work(client, batch, wanted, server.url, server.token, workers)
                is_over.wait(10)
                stop.set()
            watch.close()
        with lock:
            _summary(console, executions, results)
        head = server.recording.cursor()
    console.print(f"\nrecording: {recording.absolute()}  (cursor {head})", soft_wrap=True)
    console.print("watch it in a notebook:\n  import playhead as ph", highlight=False)
    console.print(f"  client = ph.connect({str(recording.absolute())!r})", highlight=False, soft_wrap=True)
    console.print(f"  ph.ReplayPlayer(client, batch_id={batch!r})", highlight=False)
    console.print("or run: make lab")


_clients: dict[str, Client] = {}


def _audit(name: str, batch: str, url: str, token: str) -> dict[str, Any]:
    """In a worker: one job, published from this process; ``error`` where it failed."""
    client = _clients.get(url) or _clients.setdefault(url, connect(url, token=token))
    try:
        with client.batch(batch).job(name, **about(name)) as job:
            return {"name": name} | audit(name, job)
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        return {"name": name, "error": f"{type(error).__name__}: {error}"}
    finally:
        client.flush(5)


def _work(client: Client, batch: str, wanted: list[str], url: str, token: str, workers: int) -> list[dict[str, Any]]:
    """Audit in a pool of processes; each publishes its own jobs."""
    spawned = multiprocessing.get_context("spawn")
    with client.batch(batch, distributions=len(wanted)), ProcessPoolExecutor(workers, spawned) as pool:
        client.flush(5)
        done = [pool.submit(_audit, name, batch, url, token) for name in wanted]
        return [future.result() for future in done]


def _summary(console: Console, executions: Executions, results: list[dict[str, Any]]) -> None:
    rows = executions.newest()
    failed = [row for row in rows if row.state == "failed"]
    console.print(table(executions, "done", 8))
    counted = [result for result in results if "error" not in result]
    totals = {name: sum(result[name] for result in counted) for name in ("modules", "lines", "functions", "classes")}
    documented = sum(result["documented"] for result in counted)
    share = 100 * documented / max(1, totals["functions"] + totals["classes"])
    console.print(
        f"\n{len(rows)} jobs, {len(failed)} failed; {totals['modules']:,} modules, {totals['lines']:,} lines, "
        f"{totals['functions']:,} functions, {totals['classes']:,} classes, {share:.0f} % documented",
        soft_wrap=True,
    )
    for row in failed:
        console.print(f"  failed: {row.job_id}: {row.error}", markup=False, soft_wrap=True)
