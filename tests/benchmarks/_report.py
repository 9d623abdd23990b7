"""The table that the recording's benchmark prints, and how its figures are taken."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Peers = dict[str, list[float]]
NAMES = ("playhead", "duckdb", "postgres")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def took_ms(work: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def cpu_s(pid: int) -> float:
    """Processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def size_of(folder: Path) -> int:
    """Bytes of all files in a directory."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def in_turn(works: dict[str, Callable[[], object]], found: Peers, order: int) -> None:
    """Time each once, each time another one first; the rubbish of one is not collected while the next is timed."""
    names = list(works)
    names = names[order % len(names):] + names[: order % len(names)]  # fmt: skip
    for name in names:
        gc.collect(0)
        found.setdefault(name, []).append(took_ms(works[name]))


def say(words: str) -> None:
    """Tell on stderr what goes on."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


@dataclass
class Report:
    """Rows of figures, one column a store. A ratio above 1 means that playhead is that many times better."""

    lines: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def head(self, title: str) -> None:
        """Begin a section."""
        self.lines.append((title,))

    def row(
        self, label: str, show: Callable[[Sequence[float]], str], peers: Peers, *, is_more_better: bool = False
    ) -> None:
        """One row: what ``show`` makes of each store's rounds, and the ratios of their medians."""
        values = [show(peers[name]) if peers.get(name) else "" for name in NAMES]
        ours = median(peers["playhead"]) if peers.get("playhead") else None
        ratios = []
        for name in NAMES[1:]:
            theirs = median(peers[name]) if peers.get(name) else None
            if not ours or not theirs:
                ratios.append("")
            else:
                ratios.append(f"{ours / theirs if is_more_better else theirs / ours:.2f}")
        self.lines.append((label, *values, *ratios))

    def rates(self, label: str, peers: Peers) -> None:
        """Events a second."""
        self.row(label, lambda values: f"{median(values):,.0f}/s", peers, is_more_better=True)

    def latencies(self, label: str, peers: Peers) -> None:
        """Milliseconds, p50 and p99."""
        self.row(label, lambda values: f"{median(values):,.2f} / {percentile(values, 0.99):,.2f}", peers)

    def numbers(self, label: str, peers: dict[str, float], form: str = "{:,.1f}", *, is_more_better: bool = False) -> None:
        """One figure a store."""
        several = {name: [value] for name, value in peers.items()}
        self.row(label, lambda values: form.format(median(values)), several, is_more_better=is_more_better)

    def text(self, label: str, *values: str) -> None:
        """Figures that have no ratio."""
        self.lines.append((label, *values))

    def print(self) -> None:
        """All of it, on stdout."""
        heads = ("", "playhead", "DuckDB", "PostgreSQL", "vs DuckDB", "vs PostgreSQL")
        rows = [heads, *self.lines]
        widths = [max((len(row[n]) for row in rows if 1 < len(row) > n), default=0) for n in range(len(heads))]
        for row in rows:
            if len(row) == 1:
                print(f"-- {row[0]}")
                continue
            cells = [cell.ljust(width) if n == 0 else cell.rjust(width)
                     for n, (cell, width) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
            print("  ".join(cells).rstrip())
        for note in self.notes:
            print(f"note: {note}")
