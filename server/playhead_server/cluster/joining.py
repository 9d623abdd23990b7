"""
What of a recording belongs to the log, and how a log that Redis lost becomes whole again.

Positions of one epoch are the same everywhere. When Redis has lost a part of the log, nobody can know who saw what of it, so
another epoch begins: it goes on from the longest that a living server holds, and whatever a server holds besides is
published again, once, by its ids. ``cluster.json`` in the recording says which generation of the log it was of; a later
generation counts for more than a longer log, so that a server that was away cannot bring back what the others gave up.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from playhead.errors import PlayheadError
from playhead.events import Event
from playhead.recording import Recording
from playhead.recording.directory import new_epoch, write_whole
from playhead.recording.stored import Stored
from playhead_server.cluster import peers
from playhead_server.cluster.link import Away
from playhead_server.cluster.log import About, Log

_COMPARED = 10_000  # events at the end of a recording that are looked at before the log goes on
_CENSUS_MS = 3_000  # how long every server that lives has time to say what it holds
_HEAL_S = 30.0
_FILLED = 20_000  # events that are put back into the stream; who lacks more asks a server
_READ = 1_000
_log = logging.getLogger("playhead.cluster")


class ForeignLog(PlayheadError):
    """The recording is of another log than the one in Redis."""

    def __init__(self, path: str, epoch: str, other: str) -> None:
        super().__init__(path, epoch, other)
        self.path, self.epoch, self.other = path, epoch, other

    def __str__(self) -> str:
        return (
            f"{self.path} holds another log ({self.epoch}) than Redis does ({self.other}): serve a new recording, and publish "
            f"its events there with `playhead import`; or name another log with --redis-log"
        )


class LostEnd(PlayheadError):
    """The newest events of the recording cannot be read, so it cannot be said what of the log it has."""

    def __init__(self, path: str, gone: str) -> None:
        super().__init__(path, gone)
        self.path, self.gone = path, gone

    def __str__(self) -> str:
        return (
            f"{self.path} has lost its newest events ({self.gone}): serve a new recording, which gets all there is from the "
            "other servers; where there are none, `playhead export` what is left and `playhead import` it into a new one"
        )


class Memory(msgspec.Struct):
    """
    ``cluster.json``: how a recording stands to the log.

    Attributes:
        generation: Of which generation of the log it is; 0 where of none.
        lineage: Of each earlier epoch the last seq that is the log's still.
        controls: Up to which number it did what it was told; ``done`` is the last of that.
        is_whole: Whether it has all that the log had when it was joined.
        cut: Where it is being cut off.
    """

    path: str
    generation: int = 0
    lineage: dict[str, int] = {}
    controls: int = 0
    done: list[dict[str, Any]] = []
    is_whole: bool = True
    cut: int | None = None

    @classmethod
    def read(cls, path: Path) -> Memory:
        """As it was written; of no log where it was not."""
        try:
            return msgspec.structs.replace(msgspec.json.decode(path.read_bytes(), type=cls), path=str(path))
        except FileNotFoundError:
            return cls(str(path))

    def write(self) -> None:
        """Raises OSError."""
        text = msgspec.json.encode(msgspec.structs.replace(self, path=""))  # which may be another one tomorrow
        write_whole(Path(self.path), text.decode() + "\n")

    def did(self, control: dict[str, Any]) -> None:
        """What it was told is done; raises OSError."""
        self.controls, self.done = control["n"], [*self.done[-99:], control]
        self.write()


class Joining:
    """Brings one recording and the log together; the follower's thread."""

    def __init__(
        self, log: Log, recording: Recording, server: str, *, rescue: Callable[[Iterable[Event]], None],
        say: Callable[[str], None], is_over: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._log, self._recording, self._server = log, recording, server
        self._replica, self._rescue, self._say, self._is_over = recording.replica(), rescue, say, is_over
        self.memory = Memory.read(recording.path / "cluster.json")
        self.tag = ""  # of the entry that was applied last, while that is known

    def check(self) -> None:
        """Raises ForeignLog and LostEnd, as `join` would; Away."""
        self._check_end()
        about = self._log.look()
        if about is not None and not (self.memory.is_whole and about.generation < self.memory.generation):
            self._upto(about)

    def join(self) -> About:
        """
        Have the recording be a part of the log, and the log be whole.

        Raises:
            Away: Redis cannot be reached, or the others are not there yet.
            ForeignLog: the recording is of another one.
            LostEnd: nobody knows how far the recording went.
            RecordingFull, OSError: the disk refuses it.
        """
        recording, memory = self._recording, self.memory
        self._check_end()
        if memory.cut is not None:
            self._cut(memory.cut)
        about = self._log.look() or self._heal()
        is_same = recording.epoch == about.epoch
        is_older = memory.is_whole and about.generation < memory.generation
        if is_older or (is_same and recording.head > about.head):
            self._log.suspect(about.epoch)  # it is from before what this server saw
            about = self._heal()
        upto = self._common(about, self._upto(about))
        if upto < recording.head:
            _log.warning("%s: %d events are not in the log; they are published again", recording.path, recording.head - upto)
            self._rescue(self._behind(upto))
            if recording.epoch == about.epoch:  # who followed this server has a position that means something else there
                self._log.renew(about.epoch, new_epoch())
                about = self._log.look() or self._heal()
            self._cut(upto)
        self._adopt(about)
        return about

    def _check_end(self) -> None:
        for gone in self._recording.missing:
            if gone.last is None:
                raise LostEnd(str(self._recording.path), str(gone))

    def whole(self) -> None:
        """The recording has all that the log had; raises OSError."""
        if not self.memory.is_whole:
            self.memory.is_whole = True
            self.memory.write()

    def _adopt(self, about: About) -> None:
        memory, recording = self.memory, self._recording
        is_whole = memory.is_whole and recording.head + 1 >= about.first
        known = memory.generation, memory.lineage, memory.is_whole
        if recording.epoch != about.epoch or known != (about.generation, about.lineage, is_whole):
            memory.generation, memory.lineage, memory.is_whole = about.generation, about.lineage, is_whole
            memory.controls = min(memory.controls, about.controls)
            memory.write()
            if recording.epoch != about.epoch:
                self._replica.adopt(about.epoch)

    def _behind(self, seq: int) -> Iterator[Event]:
        """The events of the recording behind a seq."""
        while events := self._recording.read(seq, limit=_READ):
            yield from events
            seq = events[-1].seq

    def _last_hole(self, after: int) -> int:
        """The position behind the last event that is missing after a position."""
        head = self._recording.head
        seqs = self._recording.arrow(after=after, columns=["seq"]).read_all()["seq"].to_numpy()
        if not len(seqs) or seqs[-1] != head:
            return head
        holes = np.flatnonzero(np.diff(seqs) != 1)
        return int(seqs[holes[-1] + 1 if len(holes) else 0]) - 1

    def _cut(self, seq: int) -> None:
        """Take off what is behind a seq, to the end even if this process ends meanwhile."""
        self.memory.cut = seq
        self.memory.write()
        self._replica.cut(seq)
        self.memory.cut = None
        self.memory.write()

    def _upto(self, about: About) -> int:
        """Up to which seq the recording may be a part of the log: as far as both know of the same epoch."""
        recording = self._recording
        if not recording.head:
            return 0
        mine = self.memory.lineage | {recording.epoch: recording.head}
        theirs = about.lineage | {about.epoch: about.head}
        shared = [min(mine[epoch], theirs[epoch]) for epoch in mine.keys() & theirs.keys()]
        if not shared:
            raise ForeignLog(str(recording.path), recording.epoch, about.epoch)
        return min(recording.head, max(shared))

    def _common(self, about: About, upto: int) -> int:
        """Up to which seq the recording is the log: the newest events are compared with the stream's, or a server's."""
        newest = self._log.between(upto, upto)
        if not upto or (
            self.tag and upto == self._recording.head and [one.tag for one in newest if one.stored] == [self.tag]
        ):
            return upto
        compared, oldest = _COMPARED, self._recording.oldest
        while True:
            first = max(oldest, upto - compared + 1)
            own = {event.seq: event.id for event in self._recording.read(first - 1, upto=upto, limit=None)}
            differs = self._first_difference(about, first, upto, own)
            if differs is None:
                return upto
            if differs != first or first == oldest:
                return differs - 1
            compared *= 10  # none of them is the same

    def _first_difference(self, about: About, first: int, upto: int, own: dict[int, str]) -> int | None:
        others = {}
        if first < about.first:
            known = self._log.peers(self._server)
            last = min(upto, about.first - 1)
            found = peers.ids(known, about.secret, about.epoch, first, last)
            if found is None and upto < about.first and any(peer.is_alive and peer.at >= last for peer in known):
                raise Away("no other server can be asked yet whether this one's newest events are the log's")
            others = found or {}
        for entry in self._log.between(max(first, about.first), upto + _COMPARED):
            if entry.stored is not None:
                others |= {seq: new.id for seq, new in enumerate(entry.stored.news, entry.stored.first)}
        return min((seq for seq, identity in others.items() if own.get(seq, identity) != identity), default=None)

    # a log that Redis lost, or never had

    def _heal(self) -> About:
        """Agree with the others on who holds most, and have the log go on from there."""
        memory, head = self.memory, self._recording.head
        generation = memory.generation if memory.is_whole else 0  # who has a part of it says nothing of the rest
        self._say(
            "Redis has lost a part of the log; the servers agree on how it goes on" if memory.generation
            else "the log begins here, unless another server is heard of that has one"
        )  # fmt: skip
        end = time.monotonic() + _HEAL_S
        while time.monotonic() < end and not self._is_over():
            answer = self._log.claim(self._server, generation, head)
            if answer[0] == "claimed":
                _, age, best, least = answer
                if age >= _CENSUS_MS and best == self._server and self._make_whole(generation, int(least)):
                    _log.warning("the log in Redis goes on from this server's recording, at %d", head)
                else:
                    time.sleep(0.1)
            if (about := self._log.look()) is not None:
                return about
        raise Away("the servers have not agreed yet on how the log goes on")

    def _make_whole(self, generation: int, least: int) -> bool:
        recording, memory = self._recording, self.memory
        epoch, lineage = recording.epoch, {one: min(last, recording.head) for one, last in memory.lineage.items()}
        if memory.generation:
            lineage[epoch] = recording.head
            epoch = new_epoch()
        if self._log.fill(self._server, epoch, None, is_first=True)[0] != "done":
            return False
        after = max(min(least, recording.head - _COMPARED), recording.head - _FILLED, 0)  # some, for who joins to compare
        for count, stored in enumerate(_commits(self._behind(self._last_hole(after)))):
            if count % 100 == 99:
                self._log.claim(self._server, generation, recording.head)
            if self._log.fill(self._server, epoch, stored, is_first=False)[0] != "done":
                return False
        about = About(
            epoch, memory.generation + 1, recording.head, recording.head + 1, secrets.token_urlsafe(32), lineage,
            memory.controls,
        )  # fmt: skip
        return bool(self._log.seed(self._server, about, memory.done)[0] == "done")


def _commits(events: Iterable[Event]) -> Iterator[Stored]:
    """Events of a recording that follow each other, as they were stored together."""
    few: list[Event] = []
    for event in events:
        if few and (len(few) == _READ or event.created_at != few[0].created_at or event.expires_at != few[0].expires_at):
            yield Stored.again(few)
            few = []
        few.append(event)
    if few:
        yield Stored.again(few)
