"""
How much one token may ask for: so many requests and so many events a second, with some seconds' worth saved up.

What is larger than what is left is let through and paid for afterwards, so that a limit never makes a request impossible.
"""

from __future__ import annotations

import time

from playhead_server.problems import Problem

_SAVED_S = 5.0
_MOST = 20_000


class Limit:
    """So much a second for each holder; 0 for no limit."""

    def __init__(self, rate: float, what: str) -> None:
        self._rate, self._what = rate, what
        self._full_at: dict[str, float] = {}  # when each holder will have saved up all it may

    def take(self, holder: str, cost: int = 1) -> None:
        """Count something; raises Problem 429 where the holder has nothing left."""
        if not self._rate:
            return
        now = time.monotonic()
        full_at = max(self._full_at.get(holder, now), now)
        wait_s = full_at - now - _SAVED_S
        if wait_s >= 0:
            after = str(max(1, round(wait_s + 0.5)))
            raise Problem(
                429, f"this token takes {self._rate:g} {self._what} a second; wait {after} s", {"Retry-After": after}
            )
        if len(self._full_at) >= _MOST:
            self._full_at = {one: moment for one, moment in self._full_at.items() if moment > now}
        self._full_at[holder] = full_at + cost / self._rate
