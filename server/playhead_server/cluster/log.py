"""`Log`: the log of one name in Redis, as `scripts` keeps it, in Python's words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import zstandard

from playhead.recording.journal import Record
from playhead.recording.stored import Stored
from playhead_server.cluster import scripts
from playhead_server.cluster.link import Link

_WORTH_IT = 512  # bytes from which on compressing saves something
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class About:
    """What Redis says of the log; ``first`` is the oldest seq of the stream, head + 1 when there is none."""

    epoch: str
    generation: int
    head: int
    first: int
    secret: str
    lineage: dict[str, int]
    controls: int


class Peer(NamedTuple):
    """Another server: where it is, up to where it has the log, and whether it was heard of lately."""

    url: str
    at: int
    is_alive: bool


class Entry(NamedTuple):
    """One entry of the stream: events, or something to do; ``tag`` names the append that made it."""

    position: str
    epoch: str
    tag: str
    stored: Stored | None
    control: dict[str, Any] | None


class Log:
    """The log of one name in Redis. Raises Away where that cannot be reached; one thread at a time."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._compress, self._decompress = zstandard.ZstdCompressor(1).compress, zstandard.ZstdDecompressor().decompress
        self._base = f"playhead:{{{name}}}:"

    def dial(self) -> Callable[[], None]:
        """Connect anew; the log is asked there, and nowhere else, once what this returns was called."""
        made = self._link.dial(self._key("about"))
        return lambda: self._link.use(made)

    def lacks(self) -> str | None:
        """Why nothing may be appended, though Redis is there."""
        return self._link.lacks()

    def look(self) -> About | None:
        """What there is; None where there is nothing, or not all that there was."""
        found = self._link.call("HGETALL", self._key("about"))
        if not found or b"epoch" not in found or b"lost" in found:
            return None
        said = {key.decode(): value.decode() for key, value in found.items()}
        head = int(said["head"])
        first, after = head + 1, b"-"
        while first > head and (rows := self._link.call("XRANGE", self._key("log"), after, "+", "COUNT", 20)):
            after = b"(" + rows[-1][0]
            for position, fields in rows:
                if b"n" in fields:
                    first = int(position.partition(b"-")[0]) - int(fields[b"n"]) + 1
                    break
        lineage = {epoch: int(last) for epoch, last in json.loads(said["lineage"])}
        return About(
            said["epoch"], int(said["generation"]), head, first, said["secret"], lineage, int(said["controls"])
        )

    def append(
        self, stored: Stored, *, epoch: str, server: str, number: int, seen: int, checked: int, looks: bool
    ) -> list[Any]:
        """
        Give events their seqs: ``["done", first, last]``. ``seen`` is the newest seq that the server knows of.

        Or ``["known", head, place...]``: these are in the log; ``["behind"]``: who asks has read too little of it to be told;
        ``["lost"]``, ``["epoch"]``: it is not the log that was. Nothing is appended then.
        """
        owners = [owner or "" for owner in stored.organizations]
        is_mixed = len(set(owners)) > 1
        whose = msgspec.msgpack.encode(owners) if is_mixed else owners[0].encode()
        expires = int(stored.expires.timestamp() * 1000)
        return self._run(
            scripts.APPEND, ("about", "log", "sent"), epoch, server, number, checked, int(looks), len(stored.news),
            f"{server}:{number}", expires, stored.ids, whose, int(is_mixed), self._data(stored), self._key("ids:"), seen,
            waits=True,
        )  # fmt: skip

    def read(self, after: str, most: int, block_ms: int) -> list[Entry]:
        """What comes behind a position, waited for at most so long."""
        found = self._link.call("XREAD", "COUNT", most, "BLOCK", block_ms, "STREAMS", self._key("log"), after)
        if not found:
            return []
        rows = next(iter(found.values())) if isinstance(found, dict) else found[0][1]
        if rows and isinstance(rows[0], list) and rows[0] and isinstance(rows[0][0], list | tuple):
            rows = rows[0]
        return [self._entry(position, fields) for position, fields in rows]

    def between(self, first: int, last: int) -> list[Entry]:
        """The entries whose last seq lies in a range."""
        rows = self._link.call("XRANGE", self._key("log"), f"{first}-0", f"{last}-0")
        return [self._entry(position, fields) for position, fields in rows]

    def beat(self, *, epoch: str, server: str, at: int, url: str) -> list[Any]:
        """Say up to where a server has the log, and let go of what all have: ``["ok", head]``, or as `append`."""
        return self._run(
            scripts.BEAT, ("about", "log", "servers", "sent"), epoch, server, at, url, self._key("ids:"), scripts.KEPT,
            scripts.MOST, scripts.KEPT_BYTES, scripts.MOST_BYTES,
        )  # fmt: skip

    def peers(self, server: str) -> list[Peer]:
        """The other servers, those that are furthest first."""
        moment, *told = self._run(scripts.SERVERS, ("servers",))
        found = []
        for name, text in zip(told[::2], told[1::2], strict=True):
            said = json.loads(text)
            if name != server:
                found.append(Peer(said["url"], int(said["at"]), moment - said["seen"] < scripts.DEAD_MS))
        return sorted(found, key=lambda peer: (peer.is_alive, peer.at), reverse=True)

    def control(self, epoch: str, said: dict[str, Any]) -> list[Any]:
        """Have every server do something at this place of the log: ``["done", its number]``, or as `append`."""
        return self._run(scripts.CONTROL, ("about", "log", "controls"), epoch, json.dumps(said))

    def controls(self) -> list[dict[str, Any]]:
        """What there was to do, oldest first, of the last thousand."""
        return [json.loads(text) for text in self._link.call("LRANGE", self._key("controls"), 0, -1)]

    def suspect(self, epoch: str) -> None:
        """Redis has less of the log than it had: nothing more is taken until it is whole."""
        self._run(scripts.SUSPECT, ("about",), epoch)

    def renew(self, epoch: str, new: str) -> None:
        """Begin another epoch where the log ends."""
        self._run(scripts.RENEW, ("about",), epoch, new)

    def claim(self, server: str, generation: int, head: int) -> list[Any]:
        """Say what a server holds of a lost log: ``["claimed", ms since the first did, who has most, least head]``."""
        return self._run(scripts.CLAIM, ("about", "claims"), server, generation, head)

    def fill(self, server: str, epoch: str, stored: Stored | None, *, is_first: bool) -> list[Any]:
        """Put events back that Redis lost, in order, before `seed`: ``["done"]``, ``["wait"]``, ``["healed"]``."""
        said = [b"", 0, 0, epoch, 0]
        if stored is not None:
            said = [self._data(stored), len(stored.news), stored.last, epoch, int(stored.expires.timestamp() * 1000)]
        return self._run(scripts.FILL, ("about", "log", "claims"), server, int(is_first), *said)

    def seed(self, server: str, about: About, controls: Sequence[dict[str, Any]]) -> list[Any]:
        """Have the log go on from what a server holds, with what there was to do; answers as `fill`."""
        lineage = json.dumps([[epoch, last] for epoch, last in about.lineage.items()][-50:])
        return self._run(
            scripts.SEED, ("about", "claims", "sent", "controls"), server, about.epoch, about.generation, about.head,
            about.secret, lineage, about.controls, *map(json.dumps, controls),
        )  # fmt: skip

    def _key(self, name: str) -> str:
        return self._base + name

    def _run(self, script: str, keys: Sequence[str], *values: object, waits: bool = False) -> list[Any]:
        found = self._link.run(script, [self._key(key) for key in keys], values, waits=waits)
        return [one.decode() if isinstance(one, bytes) else one for one in found]

    def _data(self, stored: Stored) -> bytes:
        text = stored.packed()
        return self._compress(text) if len(text) >= _WORTH_IT else text

    def _entry(self, position: bytes, fields: dict[bytes, bytes]) -> Entry:
        place, epoch, tag = position.decode(), fields[b"e"].decode(), fields.get(b"t", b"").decode()
        if b"c" in fields:
            return Entry(place, epoch, tag, None, json.loads(fields[b"c"]))
        text, rows, last = fields[b"d"], int(fields[b"n"]), int(place.partition("-")[0])
        if text.startswith(_ZSTD):
            text = self._decompress(text)
        return Entry(place, epoch, tag, Stored.of(Record(last - rows + 1, rows, text)), None)
