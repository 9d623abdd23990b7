"""
Which groups an event concerns, found by what the event says, so that its cost grows with those it concerns.

A group is entered under one name of its filter, the most telling one that it has (job, execution, batch, type), once for
each value; an event looks its own four values up. Only what a filter says besides is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from playhead.events import Event, Filter

_NAMES = ("job_id", "execution_id", "batch_id", "type")


class Filtered(Protocol):
    """What has a filter."""

    @property
    def where(self) -> Filter:
        """Which events it wants."""


Member = TypeVar("Member", bound=Filtered)


class Channels(Generic[Member]):
    """Groups by what they want."""

    def __init__(self) -> None:
        self._by_value: dict[str, dict[str, dict[Member, bool]]] = {name: {} for name in _NAMES}
        self._others: dict[Member, bool] = {}  # in both: whether nothing else is to be compared

    def add(self, group: Member) -> None:
        """Enter a group."""
        name = _name_of(group.where)
        if name is None:
            self._others[group] = group.where == Filter()
            return
        values = getattr(group.where, name)
        is_all = group.where == Filter(**{name: values})
        for value in values:
            self._by_value[name].setdefault(value, {})[group] = is_all

    def remove(self, group: Member) -> None:
        """Take a group out; one that is not there is no error."""
        name = _name_of(group.where)
        if name is None:
            self._others.pop(group, None)
            return
        by_value = self._by_value[name]
        for value in getattr(group.where, name):
            if (groups := by_value.get(value)) is not None:
                groups.pop(group, None)
                if not groups:
                    del by_value[value]

    def of(self, event: Event) -> Iterator[Member]:
        """The groups that want the event, each once."""
        for name, by_value in self._by_value.items():
            if by_value and (groups := by_value.get(getattr(event, name))):
                yield from (group for group, is_all in groups.items() if is_all or group.where.matches(event))
        if self._others:
            yield from (group for group, is_all in self._others.items() if is_all or group.where.matches(event))


def _name_of(where: Filter) -> str | None:
    return next((name for name in _NAMES if getattr(where, name)), None)
