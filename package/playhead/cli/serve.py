"""``playhead serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from playhead.times import duration_s


def serve(
    recording: Annotated[
        Path, typer.Argument(help="The recording, begun where there is none.", envvar="PLAYHEAD_RECORDING")
    ] = Path("playhead.playhead"),
    host: Annotated[str, typer.Option(envvar="PLAYHEAD_HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PLAYHEAD_PORT", help="0 picks a free one.")] = 8765,
    token: Annotated[
        str | None, typer.Option(envvar="PLAYHEAD_TOKEN", help="Token with all scopes; made when not given.")
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", envvar="PLAYHEAD_NO_AUTH", help="No token; on loopback only.")
    ] = False,
    retention: Annotated[str, typer.Option(envvar="PLAYHEAD_RETENTION", help="How long an event is kept.")] = "30d",
    allow_origin: Annotated[
        list[str] | None, typer.Option(envvar="PLAYHEAD_ALLOW_ORIGIN", help="A page that may connect; repeat it.")
    ] = None,
    jwt_secret: Annotated[
        str | None, typer.Option(envvar="PLAYHEAD_JWT_SECRET", help="Take HS256 JWTs made with it.")
    ] = None,
    jwks: Annotated[
        Path | None, typer.Option(envvar="PLAYHEAD_JWKS", help="Take RS256 and ES256 JWTs by this JWKS file.")
    ] = None,
    root_path: Annotated[str, typer.Option(envvar="PLAYHEAD_ROOT_PATH", help="The path a proxy serves it at.")] = "",
    log_level: Annotated[str, typer.Option(envvar="PLAYHEAD_LOG_LEVEL", help="debug, info, warning, error.")] = "info",
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar=["PLAYHEAD_REDIS_URL", "REDIS_URL"],
            help="Share the log with other servers: redis://, rediss://, redis+sentinel://…/master, redis+cluster://.",
        ),
    ] = None,
    redis_log: Annotated[
        str, typer.Option(envvar="PLAYHEAD_REDIS_LOG", help="The name of that log, where Redis holds several.")
    ] = "main",
    redis_wait: Annotated[
        int, typer.Option(envvar="PLAYHEAD_REDIS_WAIT", min=0, help="Replicas of Redis that must have events first.")
    ] = 0,
    advertise: Annotated[
        str | None, typer.Option(envvar="PLAYHEAD_ADVERTISE", help="The url that the other servers reach this one at.")
    ] = None,
) -> None:
    """
    Serve a recording, alone or with others that share its log over Redis.

    The first line printed is the url alone; logs go to stderr; SIGTERM ends it cleanly.
    """
    try:
        from playhead_server.server import Settings
        from playhead_server.server import serve as run
    except ModuleNotFoundError as error:
        raise ValueError(f"the server needs {error.name}: pip install 'playhead[server]'") from None
    if log_level not in ("debug", "info", "warning", "error"):
        raise ValueError(f"log level {log_level!r} is none of debug, info, warning, error")
    os.environ.pop("PLAYHEAD_TOKEN", None)  # nothing that is started from here inherits it
    run(
        Settings(
            recording=recording, host=host, port=port, token=token, no_auth=no_auth, retention_s=duration_s(retention),
            allow_origins=tuple(allow_origin or ()), log_level=log_level, jwt_secret=jwt_secret, jwks=jwks,
            root_path=root_path, redis_url=redis_url, redis_log=redis_log, redis_wait=redis_wait, advertise=advertise,
        )
    )  # fmt: skip
