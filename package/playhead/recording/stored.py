"""What one commit adds to the log: as it is told to others, as the journal keeps it, as rows of a segment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from playhead.columns import id_bytes, log_table, micros
from playhead.events import Event, NewEvent
from playhead.recording.journal import Record

_JSON = b"["  # no array of this length begins so in msgpack
_AT_ONCE, _REST_S = 500, 0.0001  # of these a table is made, and then others have their turn with the interpreter


class _Text(msgspec.Struct, array_like=True):
    """What a record of the journal says of its events; one organisation stands for all."""

    created: datetime
    expires: datetime
    organizations: list[str | None]
    news: list[NewEvent]


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Text).decode
_encode_json, _decode_json = msgspec.json.Encoder().encode, msgspec.json.Decoder(_Text).decode


class Stored(NamedTuple):
    """
    What a commit adds to the log, in order from the seq ``first`` on; ``ids`` as `id_bytes` makes them.

    ``text`` is what it was read from, so that it need not be written again.
    """

    first: int
    news: list[NewEvent]
    organizations: list[str | None]
    ids: bytes
    created: datetime
    expires: datetime
    text: bytes = b""

    @property
    def last(self) -> int:
        """The seq of the last of them."""
        return self.first + len(self.news) - 1

    def events(self) -> list[Event]:
        """As they are told to whoever listens."""
        return [
            Event(
                seq, new.id, new.type, new.timestamp, new.execution_id, new.batch_id, new.job_id, owner, new.data,
                self.created, self.expires,
            )
            for seq, (new, owner) in enumerate(zip(self.news, self.organizations, strict=True), self.first)
        ]  # fmt: skip

    def record(self) -> Record | None:
        """As the journal keeps them; None where it cannot (a whole number of more than 64 bits)."""
        if self.text:
            return None if self.text.startswith(_JSON) else Record(self.first, len(self.news), self.text)
        try:
            return Record(self.first, len(self.news), _encode(self._said()))
        except (OverflowError, ValueError, TypeError):
            return None

    def packed(self) -> bytes:
        """Without its place: as the journal keeps it, or where it cannot as JSON, which has whole numbers of any size."""
        record = self.record()
        return record.text if record is not None else _encode_json(self._said())

    @classmethod
    def of(cls, record: Record) -> Stored:
        """From the journal, or from what `packed` gave."""
        said = (_decode_json if record.text.startswith(_JSON) else _decode)(record.text)
        owners = said.organizations if len(said.organizations) > 1 else said.organizations * record.rows
        ids = id_bytes([new.id for new in said.news])
        return cls(record.first, said.news, owners, ids, said.created, said.expires, record.text)

    @classmethod
    def again(cls, events: Sequence[Event]) -> Stored:
        """Events of a recording that follow each other as they were stored, with the times of the last of them."""
        news = [
            NewEvent(
                one.id, one.type, one.timestamp, one.execution_id, one.batch_id, one.job_id, one.organization_id, one.data
            )
            for one in events
        ]
        newest, owners = events[-1], [one.organization_id for one in events]
        expires = newest.expires_at or newest.created_at
        return cls(events[0].seq, news, owners, id_bytes([new.id for new in news]), newest.created_at, expires)

    def behind(self, seq: int) -> Stored:
        """Those of them that come after a seq."""
        count = max(0, seq - self.first + 1)
        return self if not count else self._replace(
            first=seq + 1, news=self.news[count:], organizations=self.organizations[count:], ids=self.ids[16 * count :],
            text=b"",
        )  # fmt: skip

    def _said(self) -> _Text:
        owners = self.organizations if len(set(self.organizations)) > 1 else self.organizations[:1]
        return _Text(self.created, self.expires, owners, self.news)


def rows_of(many: Sequence[Stored]) -> tuple[pa.Table, bytes]:
    """The events of several commits as rows of the log, and their ids as `id_bytes` makes them."""
    parts: list[list[Stored]] = [[]]
    for one in many:
        if parts[-1] and one.last - parts[-1][0].first >= _AT_ONCE:
            parts.append([])
        parts[-1].append(one)
    tables: list[pa.Table] = []
    for part in parts:
        if tables:
            time.sleep(_REST_S)
        tables.append(_part(part))
    return pa.concat_tables(tables), b"".join(one.ids for one in many)


def _part(many: list[Stored]) -> pa.Table:
    counts = [len(one.news) for one in many]

    def times(moments: list[datetime]) -> pa.Array:
        return pa.array(np.repeat(np.array([micros(one) for one in moments], np.int64), counts)).view(pa.timestamp("us"))

    return log_table(
        list(chain.from_iterable(one.news for one in many)),
        seqs=pa.array(np.concatenate([np.arange(one.first, one.last + 1) for one in many])),
        ids=b"".join(one.ids for one in many),
        organizations=list(chain.from_iterable(one.organizations for one in many)),
        created_at=times([one.created for one in many]),
        expires_at=times([one.expires for one in many]),
    )
