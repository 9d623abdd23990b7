"""``playhead token``: tokens for people and programs, made, listed and taken back, also while the server runs."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from playhead.times import duration_s, now, parse_time, time_text

app = typer.Typer(no_args_is_help=True, help="Tokens for people and programs; the server takes changes at once.")
Recording = Annotated[
    Path, typer.Argument(envvar="PLAYHEAD_RECORDING", help="The recording that is served.")
]
File = Annotated[
    Path | None, typer.Option("--tokens", envvar="PLAYHEAD_TOKENS", help="The file, where `serve --tokens` names one.")
]
_DEFAULT = Path("playhead.playhead")


@app.command()
def create(
    recording: Recording = _DEFAULT,
    name: Annotated[str, typer.Option(help="What it is for, such as 'nightly audit'.")] = "unnamed",
    scope: Annotated[list[str] | None, typer.Option(help="publish, read or admin; repeat it. Without: read.")] = None,
    organization: Annotated[str | None, typer.Option(help="See and write this organisation's events alone.")] = None,
    expires: Annotated[str | None, typer.Option(help="A time with a zone, or a duration from now such as 90d.")] = None,
    tokens: File = None,
) -> None:
    """
    Make a token and print it, alone on stdout and never again: only its hash is kept.

    Without --expires it holds until it is revoked.
    """
    text, made = _kept(recording, tokens).create(name, scope or ["read"], organization, _end(expires))
    print(text)
    print(f"token {made.id} ({made.name}): {_allows(made)}; keep it, it is not shown again", file=sys.stderr)


@app.command("list")
def list_(
    recording: Recording = _DEFAULT,
    tokens: File = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say which tokens there are; what only their holders know is not kept."""
    found = _kept(recording, tokens).all()
    if as_json:
        print(json.dumps([_facts(token) for token in found]))
        return
    table = Table("id", "name", "allows", "made", "expires", box=None, pad_edge=False, header_style="bold")
    for token in found:
        has_expired = token.expires_at is not None and token.expires_at <= now()
        end = "never" if token.expires_at is None else f"{_short(token.expires_at)}{' (over)' if has_expired else ''}"
        table.add_row(token.id, token.name, _allows(token), _short(token.created_at), end)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(help="Its id, as `playhead token list` shows it, or the whole of it.")],
    recording: Recording = _DEFAULT,
    tokens: File = None,
) -> None:
    """Take a token back: it is refused from now on, and who is connected with it is cut off within 20 s."""
    gone = _kept(recording, tokens).revoke(token)
    print(f"token {gone.id} ({gone.name}) is revoked")


def _kept(recording: Path, file: Path | None) -> Any:
    """The `Tokens` of the server, which the library does not know."""
    from playhead_server.tokens import FILE, Tokens

    if file is None and not (recording / "recording.json").is_file():
        raise ValueError(f"there is no recording at {recording}: begin it with `playhead serve {recording}`, or name --tokens")
    return Tokens(file or recording / FILE)


def _end(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    try:
        end = now() + timedelta(seconds=duration_s(expires))
    except OverflowError:
        raise ValueError(f"--expires {expires!r} is further away than time goes; leave it out") from None
    except ValueError:
        end = parse_time(expires, "--expires")
    if end <= now():
        raise ValueError(f"--expires {expires!r} is over already")
    return end


def _allows(token: Any) -> str:
    whose = f" for {token.organization_id}" if token.organization_id is not None else ""
    return f"{', '.join(token.scopes)}{whose}"


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _facts(token: Any) -> dict[str, object]:
    return {
        "id": token.id, "name": token.name, "scopes": list(token.scopes), "organizationId": token.organization_id,
        "createdAt": time_text(token.created_at),
        "expiresAt": None if token.expires_at is None else time_text(token.expires_at),
    }  # fmt: skip
