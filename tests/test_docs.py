"""The reference: every public name is on one of its pages; `make docs` builds it, and fails for a warning."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import playhead as ph
from playhead import charts, frames, widgets
from playhead.client.aio import AsyncEventQuery
from playhead.client.follow import AsyncFollow, Follow, Watch
from playhead.client.jobs import Batch, Job
from playhead.client.query import EventQuery
from playhead.client.status import ConnectionState
from playhead.widgets.replay_player import Comparison

DOCS = Path(__file__).parents[1] / "docs"
_DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|module):: (\S+)$", re.M)
PUBLIC = [
    *(getattr(ph, name) for name in ph.__all__ if name != "__version__"),
    *(getattr(home, name) for home in (charts, frames, widgets) for name in home.__all__),
    # what public calls give
    EventQuery, AsyncEventQuery, Batch, Job, Follow, AsyncFollow, Watch, ConnectionState, Comparison,
]  # fmt: skip


def documented() -> set[object]:
    """What the pages name, and what the modules that they name export."""
    found: set[object] = set()
    for page in DOCS.glob("*.md"):
        for name in _DIRECTIVE.findall(page.read_text()):
            home, _, last = name.rpartition(".")
            value = getattr(importlib.import_module(home), last)
            found |= {value} | {getattr(value, one) for one in getattr(value, "__all__", ())}
            if name == "playhead.errors":
                found |= {one for one in vars(value).values() if getattr(one, "__module__", "") == name}
    return found


@pytest.mark.parametrize("value", PUBLIC, ids=lambda value: value.__name__)
def test_every_public_name_is_in_the_reference(value: object) -> None:
    """On a page of its own part."""
    assert value in documented()


def test_every_page_is_in_the_index() -> None:
    """And the notebooks are its guides."""
    index = (DOCS / "index.md").read_text()
    assert [page.stem for page in DOCS.glob("*.md") if page.stem != "index" and f"\n{page.stem}\n" not in index] == []
    assert (DOCS / "guides").resolve() == DOCS.parent / "notebooks" and "\nguides/*\n" in index
