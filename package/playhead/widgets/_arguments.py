"""What a widget may be given; each refusal says what to write."""

from __future__ import annotations

from numbers import Real

from playhead.client.api import Client


def checked_client(client: object, widget: str) -> Client:
    """A client of `connect`."""
    if not isinstance(client, Client):
        raise TypeError(
            f"{widget} takes the client that ph.connect() gives, not {_named(client)}; write {widget}(ph.connect(), …)"
        )
    return client


def checked_batch(batch_id: object) -> str | None:
    """The id of one batch; None for everything."""
    if batch_id is not None and not isinstance(batch_id, str):
        raise TypeError(f"batch_id is the name of one batch, not {_named(batch_id)}; write batch_id='nightly audit'")
    if batch_id == "":
        raise ValueError("batch_id is empty; name a batch, or leave it out to see all of them")
    return batch_id


def checked_side(name: object) -> str:
    """One of two that are compared."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"what is compared is named by its id, not {_named(name)}; write compare(client, 'one', 'other')")
    return name


def checked_rows(max_display: object) -> int:
    """How many rows are in sight."""
    if not isinstance(max_display, int) or isinstance(max_display, bool):
        raise TypeError(f"max_display is a number of rows, not {_named(max_display)}; write max_display=6")
    if max_display < 1:
        raise ValueError(f"max_display is {max_display}; one row is the least, the rest is scrolled to: write 1 or more")
    return max_display


def checked_pixels(height: object) -> int:
    """How high something is drawn."""
    if not isinstance(height, int) or isinstance(height, bool):
        raise TypeError(f"height is a number of pixels, not {_named(height)}; write height=240")
    if not 40 <= height <= 4000:
        raise ValueError(f"height is {height} pixels; write 40 to 4000")
    return height


def checked_seconds(name: str, value: object, *, least: float) -> float:
    """A length of time in seconds."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of seconds, not {_named(value)}; write {name}=5.0")
    seconds = float(value)
    if not least <= seconds <= 86_400:
        raise ValueError(f"{name} is {seconds:g} s; write {least:g} to 86400")
    return seconds


def _named(value: object) -> str:
    return "a class" if isinstance(value, type) else f"{type(value).__name__} {str(value)[:60]!r}"
