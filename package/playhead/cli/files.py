"""``playhead export``, ``playhead import`` and ``playhead prune``: recordings and servers to files and back."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from playhead.cli.arguments import Target, Token, existing
from playhead.client import Client, connect
from playhead.client.local import LocalClient
from playhead.client.remote import RemoteClient
from playhead.events import NewEvent
from playhead.files import FORMATS, write
from playhead.files.reading import KINDS, Source, kind_of, read
from playhead.files.writing import ending
from playhead.times import duration_s, parse_time

_GROUP = 10_000
_MOST_SAID = 12  # kinds of what could not be mapped that are named one by one
OutFile = Annotated[Path, typer.Argument(help=f"Its ending says what it is: {', '.join(FORMATS)}.")]


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def export(source: Target, file: OutFile, token: Token = None) -> None:
    """Write every event to a file, by its ending; the file appears whole or not at all."""
    ending(file)
    with connect(existing(source), token=token) as client:
        answer = client.events().answer()
        rows = write(file, answer.reader, partial(answer.end, None), lambda written: _say(f"{written:,} events"))
    _say("")
    print(f"{rows:,} events in {file}")


def import_(
    file: Annotated[Path, typer.Argument(help=f"Its ending, or what is in it, says what it is: {', '.join(KINDS)}.")],
    target: Target,
    token: Token = None,
    format: Annotated[str | None, typer.Option(help="What it is, where its name does not say it.")] = None,
) -> None:
    """
    Read events of a file into a recording or a server. The whole file is checked before anything is stored.

    Beside playhead's own files: event logs of Spark, the Standard Workload Format (.swf) and XES, unpacked where they end in
    .gz, .xz or .zst. What of them has no place in an event is counted and said.
    """
    kind = format or kind_of(file)
    if kind not in KINDS:
        raise ValueError(f"--format {kind!r} is none of {', '.join(KINDS)}")
    source = Source(file, kind, Counter())
    count = 0
    for _ in read(source):
        count += 1
        if count % _GROUP == 0:
            _say(f"{count:,} events checked")
    stored = there = 0
    try:
        with connect(target, token=token) as client:
            events = read(source._replace(unmapped=Counter()))
            while group := list(islice(events, _GROUP)):
                stored += _store(client, group)
                there += len(group)
                _say(f"{there:,} of {count:,} events read")
    except KeyboardInterrupt:
        _say("")
        print(f"interrupted: {there:,} of {count:,} events are stored; run it again to store the rest", file=sys.stderr)
        raise
    _say("")
    print(f"{count:,} events read, {stored:,} stored, {count - stored:,} were there already")
    if source.unmapped:
        said = [f"{times:,} x {what}" for what, times in source.unmapped.most_common(_MOST_SAID)]
        more = len(source.unmapped) - len(said)
        print(f"no place in an event has: {', '.join(said)}{f', and {more} more' if more else ''}")


def _store(client: Client, group: list[NewEvent]) -> int:
    if isinstance(client, LocalClient):
        done = client.recording.submit(group).result()
        return done.accepted - done.duplicates
    if isinstance(client, RemoteClient):
        return client.send(group)
    raise TypeError(f"cannot import into {client!r}")


def prune(
    target: Target,
    older_than: Annotated[str, typer.Option(help="A time with a zone, or a duration back from now such as 30d.")],
    token: Token = None,
) -> None:
    """Really delete the events with an older timestamp."""
    try:
        than = datetime.now(UTC) - timedelta(seconds=duration_s(older_than))
    except OverflowError:
        raise ValueError(f"--older-than {older_than!r} is longer than there has been time") from None
    except ValueError:
        than = parse_time(older_than, "--older-than")
    with connect(existing(target), token=token) as client:
        if isinstance(client, LocalClient):
            deleted = client.recording.delete_older(than)
        elif isinstance(client, RemoteClient):
            deleted = client.delete_older(than)
        else:
            raise TypeError(f"cannot prune {client!r}")
    print(f"{deleted:,} events deleted")
