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
        str | None, typer.Option(envvar="PLAYHEAD_JWKS", help="Take RS256 and ES256 JWTs by this JWKS file or url.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(envvar="PLAYHEAD_TOKENS", help="The file of `playhead token`, else in the recording.")
    ] = None,
    max_requests: Annotated[
        float, typer.Option(envvar="PLAYHEAD_MAX_REQUESTS", help="Requests a second that each token may make; 0: any.")
    ] = 0.0,
    max_events: Annotated[
        float, typer.Option(envvar="PLAYHEAD_MAX_EVENTS", help="Events a second that each token may publish; 0: any.")
    ] = 0.0,
    tls_cert: Annotated[
        Path | None, typer.Option(envvar="PLAYHEAD_TLS_CERT", help="Serve https with this PEM certificate chain,")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="PLAYHEAD_TLS_KEY", help="and this PEM key.")] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(envvar="PLAYHEAD_TRUSTED_PROXY", help="An address or network whose X-Forwarded-* count; repeat it."),
    ] = None,
    root_path: Annotated[str, typer.Option(envvar="PLAYHEAD_ROOT_PATH", help="The path a proxy serves it at.")] = "",
    log_level: Annotated[str, typer.Option(envvar="PLAYHEAD_LOG_LEVEL", help="debug, info, warning, error.")] = "info",
    log_format: Annotated[
        str, typer.Option(envvar="PLAYHEAD_LOG_FORMAT", help="text, or json: an object a line.")
    ] = "text",
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
    for secret in ("PLAYHEAD_TOKEN", "PLAYHEAD_JWT_SECRET"):
        os.environ.pop(secret, None)  # nothing that is started from here inherits it
    run(
        Settings(
            recording=recording, host=host, port=port, token=token, no_auth=no_auth, retention_s=duration_s(retention),
            allow_origins=tuple(allow_origin or ()), log_level=log_level, jwt_secret=jwt_secret, jwks=jwks,
            tokens=tokens, max_requests=max_requests, max_events=max_events, tls_cert=tls_cert, tls_key=tls_key,
            trusted_proxies=tuple(trusted_proxy or ()), log_format=log_format, root_path=root_path, redis_url=redis_url,
            redis_log=redis_log, redis_wait=redis_wait, advertise=advertise,
        )
    )  # fmt: skip
