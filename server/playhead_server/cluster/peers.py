"""
How servers give each other what the stream does not hold any more: ``GET /api/replica?after=&limit=``.

Rows as they are on disk, as an Arrow stream (zstd). Who asks has the secret of the log, which only who may read Redis has.
``X-Playhead-Last`` is the seq up to which the rows are all that is held, ``X-Playhead-Oldest`` the first that is.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import httpx
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from playhead.recording import Recording
from playhead.recording.replica import Replica, Rows
from playhead_server import params
from playhead_server.problems import Problem
from playhead_server.service import service_of

if TYPE_CHECKING:  # which needs redis, that only servers with others have
    from playhead_server.cluster.log import Peer

_AT_ONCE = 20_000  # seqs
_MOST = 100_000
_REST = 2.0  # times as long as a peer took it is left alone, so that its own readers do not notice
_TIMEOUT_S, _CONNECT_S = 20.0, 2.0
_FAILURES = (httpx.HTTPError, pa.ArrowException, ValueError, KeyError)


async def get_rows(request: Request) -> Response:
    """``GET /api/replica``, for the other servers of a log."""
    cluster = service_of(request).cluster
    secret = request.headers.get("x-playhead-cluster", "")
    if cluster is None or not cluster.secret:
        raise Problem(404, "this server shares its log with no other")
    if not hmac.compare_digest(secret.encode(), cluster.secret.encode()):
        raise Problem(401, "send the secret of the log as 'X-Playhead-Cluster: …'")
    query, recording = request.query_params, service_of(request).recording
    params.known(query, "after", "limit", "epoch")
    after = params.number(query, "after", 0, 0, 10**15) or 0
    limit = params.number(query, "limit", _AT_ONCE, 1, _MOST) or _AT_ONCE
    if params.single(query, "epoch") != recording.epoch:
        raise Problem(410, f"this server is at epoch {recording.epoch}")
    for gone in recording.missing:
        if gone.first <= after + limit and (gone.last is None or gone.last > after):
            raise Problem(503, f"this server has lost {gone}")
    replica = recording.replica()

    def read() -> tuple[bytes, int]:
        rows = replica.rows(after, limit)
        packed = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(packed, rows.table.schema, options=options) as writer:
            writer.write_table(rows.table)
        return packed.getvalue(), rows.last

    body, last = await asyncio.to_thread(read)
    headers = {"X-Playhead-Last": str(last), "X-Playhead-Oldest": str(recording.oldest)}
    return Response(body, media_type="application/vnd.apache.arrow.stream", headers=headers)


def catch_up(
    recording: Recording, replica: Replica, peers: Sequence[Peer], secret: str, upto: int, is_over: Callable[[], bool],
    *, is_patient: bool,
) -> bool:  # fmt: skip
    """
    Copy from the other servers what is between the head and a seq; whether all of it is here that any holds.

    What no server that answers holds counts as expired; while ``is_patient`` only when all that are known have answered.

    Raises:
        RecordingFull: the disk refuses it.
    """
    oldest: list[int] = []
    is_anybody_silent = False
    for peer in peers:
        try:
            with _client(peer, secret) as client:
                while recording.head < upto and not is_over():
                    begun = time.monotonic()
                    rows, first = _fetch(client, recording.epoch, recording.head, min(_AT_ONCE, upto - recording.head))
                    took_s = time.monotonic() - begun
                    if first > recording.head + 1:
                        oldest.append(first)
                        break
                    if rows.last <= recording.head:
                        break
                    replica.copy(rows)
                    if recording.head < upto:
                        time.sleep(_REST * took_s)
        except _FAILURES:
            is_anybody_silent |= is_patient or peer.is_alive
            continue
        if recording.head >= upto or is_over():
            return recording.head >= upto
    if oldest and not is_anybody_silent:  # what is older has expired everywhere
        replica.begin_at(min([*oldest, upto + 1]))
        return catch_up(recording, replica, peers, secret, upto, is_over, is_patient=is_patient)
    return False


def ids(peers: Sequence[Peer], secret: str, epoch: str, first: int, last: int) -> dict[int, str] | None:
    """The ids of the events that another server has at some seqs; None where none can be asked."""
    for peer in peers:
        if peer.at >= last:
            found: dict[int, str] = {}
            after = first - 1
            try:
                with _client(peer, secret) as client:
                    while after < last:
                        rows, _ = _fetch(client, epoch, after, min(_AT_ONCE, last - after))
                        found |= zip(rows.table["seq"].to_pylist(), rows.table["id"].to_pylist(), strict=True)
                        after = rows.last
            except _FAILURES:
                continue
            return found
    return None


def _client(peer: Peer, secret: str) -> httpx.Client:
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_S)
    return httpx.Client(base_url=peer.url, headers={"X-Playhead-Cluster": secret}, timeout=timeout)


def _fetch(client: httpx.Client, epoch: str, after: int, most: int) -> tuple[Rows, int]:
    asked: dict[str, str | int] = {"after": after, "limit": most, "epoch": epoch}
    answer = client.get("/api/replica", params=asked)
    answer.raise_for_status()
    table = pa.ipc.open_stream(answer.content).read_all()
    return Rows(table, int(answer.headers["x-playhead-last"])), int(answer.headers["x-playhead-oldest"])
