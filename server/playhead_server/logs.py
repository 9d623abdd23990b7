"""The server's log on stderr: a line of text or a JSON object for each thing that happened, with no query and no secret."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from playhead.times import time_text

_TEXT = "%(levelname)s %(name)s: %(message)s"


class _Json(logging.Formatter):
    """An object a line: time, level, logger, message, and of an error its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": time_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


class _WithoutQuery(logging.Filter):
    """
    uvicorn logs the whole address of a socket, with what may be a ticket in its query; and a message that is no UTF-8, which is
    the client's mistake, as an error of the server with a traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
            record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        if isinstance(record.args, tuple):
            record.args = tuple(one.partition("?")[0] if isinstance(one, str) else one for one in record.args)
        return True


_WITHOUT_QUERY = _WithoutQuery()


def begin(level: str, form: str) -> None:
    """Log to stderr, as text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)  # each request to another server is no news


def of_lines(level: str) -> str:
    """The level of what uvicorn logs: at debug it logs each line of a socket, and so the tokens in them."""
    return "info" if level == "debug" else level


def without_queries() -> None:
    """Keep queries out of what uvicorn logs; again is harmless."""
    logging.getLogger("uvicorn.error").addFilter(_WITHOUT_QUERY)
