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

_AT_ONCE, _REST_S = 500, 0.0001  # of these a table is made, and then others have their turn with the interpreter


class _Text(msgspec.Struct, array_like=True):
    """What a record of the journal says of its events; one organisation stands for all."""

    created: datetime
    expires: datetime
    organizations: list[str | None]
    news: list[NewEvent]


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Text).decode


class Stored(NamedTuple):
    """What a commit adds to the log, in order from the seq ``first`` on; ``ids`` as `id_bytes` makes them."""

    first: int
    news: list[NewEvent]
    organizations: list[str | None]
    ids: bytes
    created: datetime
    expires: datetime

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
        owners = self.organizations if len(set(self.organizations)) > 1 else self.organizations[:1]
        try:
            return Record(self.first, len(self.news), _encode(_Text(self.created, self.expires, owners, self.news)))
        except (OverflowError, ValueError, TypeError):
            return None

    @classmethod
    def of(cls, record: Record) -> Stored:
        """From the journal."""
        text = _decode(record.text)
        owners = text.organizations if len(text.organizations) > 1 else text.organizations * record.rows
        ids = id_bytes([new.id for new in text.news])
        return cls(record.first, text.news, owners, ids, text.created, text.expires)


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
