"""`connect`: to the local server, to a url, to a recording."""

from __future__ import annotations

import os
from pathlib import Path

from playhead.client import discovery
from playhead.client.api import Client
from playhead.client.remote import RemoteClient
from playhead.errors import ServerUnavailable


def connect(target: str | os.PathLike[str] | None = None, *, token: str | None = None) -> Client:
    """
    A client of a server or a recording.

    Args:
        target: Nothing for the local server (PLAYHEAD_URL, or what `playhead serve` wrote down); ``http(s)://…`` for
            another; the path of a recording for one that no server holds, or of a ``.parquet`` file that was exported.
        token: The server's token; PLAYHEAD_TOKEN, or what the local server wrote down, when not given.

    Raises:
        ServerUnavailable: no target was given and no server runs here.
        RecordingInUse: a server holds the recording; it names its url.
    """
    text = None if target is None else os.fspath(target)
    if text is None:
        text = os.environ.get("PLAYHEAD_URL") or None
    found = discovery.read()
    if text is None:
        if found is None:
            raise ServerUnavailable("this machine", "none has written down that it runs")
        return RemoteClient(found.url, token or os.environ.get("PLAYHEAD_TOKEN") or found.token)
    if text.startswith(("http://", "https://")):
        known = found.token if found is not None and found.url == text.rstrip("/") else None
        return RemoteClient(text, token or known or os.environ.get("PLAYHEAD_TOKEN"))
    if "://" in text:
        raise ValueError(f"{text!r}: write http://…, https://… or the path of a recording")
    path = Path(text)
    if not text.endswith(".playhead") and not path.is_dir():
        if not path.is_file():
            raise ValueError(f"{text!r} is neither a url nor a recording; a recording's name ends in .playhead")
        if path.suffix != ".parquet":
            make = f"playhead import {path.name} new.playhead"
            raise ValueError(f"{text!r} cannot be opened as it is; `{make}` makes a recording of it")
    from playhead.client.local import LocalClient

    return LocalClient(text)
