"""Every error a caller can do something about; `PlayheadError` is the only root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playhead.events import Cursor


class PlayheadError(Exception):
    """The root of all errors that playhead raises on purpose."""


class InvalidEvent(PlayheadError, ValueError):
    """One event of a request breaks a rule; nothing of the request was stored."""

    def __init__(self, index: int, field: str | None, reason: str) -> None:
        super().__init__(index, field, reason)
        self.index, self.field, self.reason = index, field, reason

    def __str__(self) -> str:
        where = f"event {self.index}" + (f", field {self.field!r}" if self.field else "")
        return f"{where}: {self.reason}"


class _Reason(PlayheadError):
    """An error that is one sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class InvalidBody(_Reason, ValueError):
    """A request body that is not the format it says it is."""


class UnsupportedMediaType(_Reason, ValueError):
    """A content type that events cannot be read from."""


class TooLarge(_Reason, ValueError):
    """A request over 10,000 events or 16 MiB."""


class InvalidCursor(PlayheadError, ValueError):
    """A text that is no cursor."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text, self.reason = text, reason

    def __str__(self) -> str:
        return f"{self.text!r} is no cursor: {self.reason}"


class CursorGone(PlayheadError):
    """The position asked for is no longer held, so reading on from it would skip events."""

    def __init__(self, cursor: Cursor, oldest: Cursor, reason: Literal["epoch", "trimmed"] = "trimmed") -> None:
        super().__init__(cursor, oldest, reason)
        self.cursor, self.oldest, self.reason = cursor, oldest, reason

    def __str__(self) -> str:
        why = "belongs to another log" if self.reason == "epoch" else "is older than what is kept"
        return f"cursor {self.cursor} {why}; read again from {self.oldest} or 'start'"


class RecordingInUse(PlayheadError):
    """Another process has the recording open."""

    def __init__(self, path: str, url: str | None, pid: int | None) -> None:
        super().__init__(path, url, pid)
        self.path, self.url, self.pid = path, url, pid

    def __str__(self) -> str:
        who = f"process {self.pid}" if self.pid else "another process"
        if self.url:
            return f"{self.path} is open in a server ({who}); use playhead.connect({self.url!r}) instead"
        return f"{self.path} is open in {who}; close it there first"


class RecordingTooNew(PlayheadError):
    """The recording was written by a newer playhead."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(path, found, known)
        self.path, self.found, self.known = path, found, known

    def __str__(self) -> str:
        return (
            f"{self.path} has recording format {self.found}, this playhead reads up to {self.known}; "
            "upgrade it: pip install -U playhead"
        )


class _PathReason(PlayheadError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason


class RecordingDamaged(_PathReason):
    """The directory is no recording, or part of it cannot be read."""

    def __str__(self) -> str:
        return f"{self.path} is no whole recording: {self.reason}"


class RecordingFull(_PathReason):
    """The disk refused a write; nothing of the request was stored."""

    def __str__(self) -> str:
        return f"{self.path} cannot be written: {self.reason}; free some space and send the events again"


class RecordingReadOnly(PlayheadError):
    """Events were to be written where nothing can be."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"{self.path} is open to read only; for a recording that takes events, `playhead import` it into a directory "
            "that you may write to, or copy it there"
        )


class QueueFull(PlayheadError):
    """More events wait to be stored than the recording takes; nothing of the request was stored."""

    def __init__(self, waiting: int, retry_after_s: float = 1.0) -> None:
        super().__init__(waiting, retry_after_s)
        self.waiting, self.retry_after_s = waiting, retry_after_s

    def __str__(self) -> str:
        return f"{self.waiting} events are waiting to be stored; send these again in {self.retry_after_s:g} s"


class RecordingClosed(_PathReason):
    """The recording was closed by this process, or is another's (``CLOSED``, ``FORKED``)."""

    CLOSED = "close() was called"
    FORKED = "this process was forked from the one that has it open"

    def __str__(self) -> str:
        return f"{self.path} is closed ({self.reason}); open it again"


class _UrlReason(PlayheadError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason


class ServerUnavailable(_UrlReason):
    """No answer from a server."""

    def __str__(self) -> str:
        return f"no playhead server answers at {self.url}: {self.reason}; start one with `playhead serve`"


class AccessDenied(_UrlReason):
    """The server refused the token, or its scopes are too small."""

    def __str__(self) -> str:
        return f"{self.url} refused access: {self.reason}; pass token=… or set PLAYHEAD_TOKEN"


class RequestRefused(PlayheadError):
    """
    The server understood a request and refused it (RFC 9457).

    Attributes:
        index: Which event of the request is the bad one, when it is one of them.
        retry_after_s: When to try again, as the server says it; None when that cannot help.
    """

    def __init__(
        self, status: int, title: str, detail: str, index: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(status, title, detail, index, retry_after_s)
        self.status, self.title, self.detail = status, title, detail
        self.index, self.retry_after_s = index, retry_after_s

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"
