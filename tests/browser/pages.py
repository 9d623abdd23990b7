"""What the browser tests put into notebooks and look for in their pages."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import Locator

from tests.browser.jupyter import Notebook
from tests.conftest import TOKEN

BUSY = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: sum(range(1000))"
Open = Callable[..., Notebook]


def connect(url: str) -> str:
    return f"import playhead as ph\nclient = ph.connect({url!r}, token={TOKEN!r})"


def event(kind: str, job: str, batch: str = "b", **data: object) -> dict[str, object]:
    return {"type": f"job_{kind}", "batchId": batch, "jobId": job, "executionId": job, "data": data}


def history(jobs: int, seconds: float = 60) -> list[dict[str, object]]:
    """Jobs one after another over a length of time that has gone by; every fifth failed, the last still runs."""
    events: list[dict[str, object]] = []
    for n in range(jobs):
        parts = [event("started", f"job {n}"), event("progress", f"job {n}", progressPercentage=50, currentStep="half")]
        if n < jobs - 1:
            ended = event("failed", f"job {n}", error="timeout") if n % 5 == 4 else event("completed", f"job {n}")
            parts.append(ended)
        events += parts
    for n, one in enumerate(events):
        s = seconds * n / (len(events) - 1)
        one["timestamp"] = f"2026-01-01T00:{int(s // 60):02}:{s % 60:09.6f}Z"
    return events


def rows(root: Locator, state: str = "") -> Locator:
    return root.locator(f'[data-state="{state}"][data-job]' if state else "[data-job]")


def until(notebook: Notebook, code: str, answer: str) -> bool:
    """Ask the kernel until it answers so; what a page was told or tells takes a moment."""
    end = time.monotonic() + 10
    while notebook.ask(code) != answer:
        if time.monotonic() > end:
            return False
    return True
