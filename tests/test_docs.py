"""The reference: every public name is on one of its pages; `make docs` builds it, and fails for a warning."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

import playhead as ph
import playhead_server
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


def test_the_description_of_the_socket_has_every_message() -> None:
    """asyncapi.json and protocol.md name what the socket takes and says, no more and no less; references lead somewhere."""
    home = Path(playhead_server.__file__).parent
    code = "".join(path.read_text() for path in home.glob("*.py"))
    says = set(re.findall(r'"op": "(\w+)"', code))
    takes = set(re.findall(r'op == "(\w+)"', code)) | {"auth"}
    text = (DOCS / "running" / "asyncapi.json").read_text()
    told = json.loads(text)
    found = {
        name: {one["$ref"].rpartition("/")[2] for one in work["messages"]} for name, work in told["operations"].items()
    }
    assert found == {"say": takes, "hear": says - takes}
    page = (DOCS / "running" / "protocol.md").read_text()
    assert set(re.findall(r'\{"op": "(\w+)"', page)) == says | takes
    for reference in set(re.findall(r'"\$ref": "#/(\S+)"', text)):
        place = told
        for name in reference.split("/"):
            place = place[name]
