"""Arguments that several commands take, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[str, typer.Argument(help="A recording (*.playhead), an exported .parquet or a server's url.")]
MaybeTarget = Annotated[
    str | None,
    typer.Argument(help="A recording (*.playhead), an exported .parquet or a server's url; else the local server."),
]
Token = Annotated[str | None, typer.Option(envvar="PLAYHEAD_TOKEN", help="The server's token.")]


def existing(target: str | None) -> str | None:
    """A target that is only read: a recording must be there, so that a misspelt path does not begin a new one."""
    if target is not None and "://" not in target and not Path(target).is_dir() and not Path(target).is_file():
        raise ValueError(f"there is no recording at {target}")
    return target
