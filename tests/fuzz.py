"""
One server and a hundred thousand things that nobody should send it.

    python -m tests.fuzz [--count 100000] [--seed 7]

Requests and messages that were valid and had a value, a byte or a header replaced, and some that never were. However they
look: no answer is 500 and every refusal is problem+json; the log has no traceback; memory stays; and what was acknowledged is
in the recording at the end, whose every question is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.conftest import TOKEN, Process, process
from tests.mutations import Maker

WORKERS = 12  # of each kind
AT_ONCE = 40  # messages of a socket before an answer is waited for
MOST_GROWTH = 50 * 2**20
ACCESS = {"X-Playhead-Token": TOKEN}
class Found:
    """What came back, and what of it was wrong."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.sent = 0
        self.stored: list[tuple[int, int]] = []
        self.new = 0
        self.wrong: list[str] = []

    def acknowledged(self, said: dict[str, Any]) -> None:
        """Note what a publisher was told."""
        if said.get("firstSeq") is not None:
            self.stored.append((said["firstSeq"], said["lastSeq"]))
        self.new += said["accepted"] - said["duplicates"]


async def _answer(reader: asyncio.StreamReader, kind: str) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    body = b""
    if kind == "HEAD":
        pass
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked" and not headers["content-type"].startswith("text/event-stream"):
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return int(head[0].split(" ")[1]), headers, body


async def http(server: Process, maker: Maker, found: Found, count: int) -> None:
    """Send requests, one after the other, on a connection as long as it lasts."""
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    for _ in range(count):
        if reader is None or writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        kind, request, is_whole = maker.request()
        found.sent += 1
        try:
            writer.write(request)
            if kind == "raw":
                writer.write_eof()
            status, headers, body = await asyncio.wait_for(_answer(reader, kind), 1 if kind == "raw" else 60)
        except (asyncio.IncompleteReadError, ConnectionError):
            found.answers[f"{kind} closed"] += 1
            is_whole = False
        except TimeoutError:
            found.answers[f"{kind} waits"] += 1
            if kind != "raw":
                found.wrong.append(f"no answer within 60 s to {request[:300]!r}")
            is_whole = False
        else:
            found.answers[f"{kind} {status}"] += 1
            is_problem = headers.get("content-type") == "application/problem+json"
            if status in (500, 501, 502) or (status >= 400 and not is_problem):
                found.wrong.append(f"{status} {headers.get('content-type')} to {request[:300]!r}")
            if status == 201 and b'"accepted"' in body:
                found.acknowledged(json.loads(body))
            is_whole = is_whole and headers.get("connection") != "close"
        if not is_whole:
            await _close(writer)
            reader = writer = None
    if writer is not None:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def socket(server: Process, maker: Maker, found: Found, count: int) -> None:
    """Send messages, some at a time, on a socket as long as it lasts."""
    address = f"ws://127.0.0.1:{server.port}/api/events/ws"
    left = count
    while left > 0:
        try:
            async with connect(address, additional_headers=ACCESS, compression=None, proxy=None) as open_socket:
                while left > 0:
                    for _ in range(min(AT_ONCE, left)):
                        left -= 1
                        found.sent += 1
                        await open_socket.send(maker.message())
                    await open_socket.send(json.dumps({"op": "publish", "id": "mark", "events": [{"type": "mark"}]}))
                    await asyncio.wait_for(_until_marked(open_socket, found), 60)
        except (WebSocketException, ConnectionError) as error:
            closed = getattr(error, "rcvd", None)
            found.answers[f"socket closed {closed.code if closed else ''}"] += 1
            if closed is None or closed.code not in (4400, 1007):
                found.wrong.append(f"a socket ended with {error!r}")


async def _until_marked(open_socket: ClientConnection, found: Found) -> None:
    while True:
        said = json.loads(await open_socket.recv())
        op = said["op"]
        found.answers[f"socket {said.get('code', op)}"] += 1
        if op == "published":
            found.acknowledged(said)
            if said["id"] == "mark":
                return
        elif op == "error" and said["code"] not in ("400", "403", "410", "413", "422", "429"):
            found.wrong.append(f"{said}")


def resident(server: Process) -> int:
    """Bytes of memory that the server has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def send(server: Process, found: Found, count: int, seed: str) -> None:
    each = count // (2 * WORKERS)
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(http(server, Maker(f"{seed} http {number}"), found, each))
            group.create_task(socket(server, Maker(f"{seed} socket {number}"), found, each))


def check(server: Process, found: Found) -> Iterator[str]:
    """What is wrong at the end."""
    yield from found.wrong[:20]
    with httpx.Client(base_url=server.url, headers=ACCESS, timeout=120, trust_env=False) as client:
        for path in ("executions", "batches", "events", "events?format=csv", "events?format=ndjson", "stats"):
            path = f"/api/{path}"
            if (answer := client.get(path)).status_code != 200:
                yield f"{path} gives {answer.status_code}: {answer.text[:200]}"
        held = set(pa.ipc.open_stream(client.get("/api/events?format=arrow&columns=seq").content).read_all()["seq"].to_pylist())
    lost = sum(not held.issuperset(range(first, last + 1)) for first, last in found.stored)
    if lost or len(held) < found.new:
        yield f"{lost} acknowledged requests are not in the log, which has {len(held):,} events of {found.new:,}"


def main() -> None:
    """Send it all, and say in a table what came of it; status 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "stderr").open("w") as log:
        found, begun = Found(), time.monotonic()
        with process(Path(folder, "log.playhead"), "--log-level", "warning", stderr=log) as server:
            asyncio.run(send(server, found, args.count // 5, f"{args.seed} warm-up"))
            before = resident(server)
            asyncio.run(send(server, found, args.count - args.count // 5, f"{args.seed}"))
            growth, took_s = resident(server) - before, time.monotonic() - begun
            wrong = list(check(server, found))
            if (status := server.end()[0]) != 0:
                wrong.append(f"the server ended with {status}")
        said = Path(folder, "stderr").read_text()
    # an error of the log, with all that belongs to it
    wrong += [one[-2000:] for one in re.findall(r"^(?:ERROR|CRITICAL|Traceback).*(?:\n(?![A-Z]+ [\w.]+:).*)*", said, re.M)[:5]]
    if growth >= MOST_GROWTH:
        wrong.append(f"memory grew by {growth:,} bytes after the first fifth")
    for name, times in sorted(found.answers.items()):
        print(f"{times:>9,}  {name}")
    print(
        f"{found.sent:>9,}  sent in {took_s:.0f} s; {found.new:,} events acknowledged; memory {before / 2**20:.0f} MiB "
        f"after a fifth, then {growth / 2**20:+.1f}; {len(said.splitlines()):,} lines of log"
    )
    raise SystemExit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
