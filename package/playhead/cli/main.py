"""The commands put together; an error of ours is one line on stderr, never a traceback."""

from __future__ import annotations

import sys

import typer

from playhead import __version__
from playhead.cli import demo, files, replay, serve, token, watch
from playhead.errors import PlayheadError

app = typer.Typer(
    name="playhead",
    help="Record what jobs do, stream it while it happens, and rewind to any moment of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("tail")(watch.tail)
app.command("status")(watch.status)
app.command("export")(files.export)
app.command("import")(files.import_)
app.command("replay")(replay.replay)
app.command("prune")(files.prune)
app.add_typer(token.app, name="token")


@app.command("version")
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run a command."""
    try:
        app()
    except (PlayheadError, ValueError, OSError) as error:
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"playhead: {text}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
