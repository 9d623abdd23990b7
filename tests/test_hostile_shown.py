"""What events say, where others open it: no spreadsheet runs it as a formula, no browser as markup."""

from __future__ import annotations

import csv
import re
import tempfile
from collections import Counter
from pathlib import Path

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

import playhead as ph
from playhead.files.reading import Source, read
from playhead_server.server import Running
from tests.conftest import TOKEN, wait_for

ROOT = Path(__file__).parents[1]

# CSV that a spreadsheet opens

FORMULAS = (
    "=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''+x", "-", "'", '="a"\n,b',
)  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(FORMULAS) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1))
def test_csv_runs_nothing_and_comes_back(texts: list[str]) -> None:
    """No cell begins as a formula does, numbers stay numbers, and what is imported of it is what was exported."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        with ph.Recording.open(Path(folder, "a.playhead")) as recording:
            recording.append([
                {"type": "job_started", "jobId": text, "executionId": "-5", "data": {"goal": text, "siteUrl": "+4.5e-3",
                 "progressPercentage": 12.5, "error": text}} for text in texts
            ])  # fmt: skip
        with ph.connect(Path(folder, "a.playhead")) as client:
            client.events().to_csv(path)
            events = list(client.events())
        with path.open(newline="") as file:
            cells = list(csv.DictReader(file))
        for cell in (cell for row in cells for cell in row.values()):
            assert not re.match(r"[=+\-@\t\r\n＝＋－＠]", cell) or float(cell) in (-5, 4.5e-3), cell
        numbers = {(row["execution_id"], row["site_url"], row["progress_percentage"]) for row in cells}
        assert numbers == {("-5", "+4.5e-3", "12.5")}
        again = list(read(Source(path, "csv", Counter())))
        assert [(one.id, one.job_id, one.data) for one in again] == [(one.id, one.job_id, one.data) for one in events]


# Pages and widgets

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&"


def test_markup_of_events_is_text(server: Running, tmp_path: Path) -> None:
    """What a widget shows, saves or leaves in a notebook has no element that an event wrote."""
    names = ("siteUrl", "siteName", "goal", "currentStep", "currentUrl", "error")
    with ph.connect(server.url, token=TOKEN) as client:
        client.publish({"type": "job_failed", "jobId": MARKUP, "batchId": MARKUP, "data": dict.fromkeys(names, MARKUP)})
        client.flush()
        grid = ph.LiveGrid(client, batch_id=MARKUP)
        wait_for(lambda: len(grid._places) == 1)
        shown = [grid._table(), grid.save_html(tmp_path / "a.html").read_text(), grid.freeze().data]
    for text in shown:
        assert "alert(1)" in text and "<script>alert" not in text and "<img src=x" not in text


def test_no_page_makes_elements_of_text(server: Running) -> None:
    """Neither the widgets nor the page at ``/`` parse text as markup, and the page runs no script but its own."""
    scripts = [*(ROOT / "package/playhead/widgets/js").rglob("*.js"), *(ROOT / "server/playhead_server").glob("*.js")]
    assert len(scripts) > 5
    for path in scripts:
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), path
    page = httpx.get(server.url, trust_env=False)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    with ph.connect(server.url, token=TOKEN) as client:
        client.publish({"type": "job_failed", "jobId": MARKUP, "batchId": MARKUP})
        client.flush()
    assert httpx.get(server.url, trust_env=False).content == page.content
