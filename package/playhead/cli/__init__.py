"""The command line: ``playhead serve | demo | tail | export | import | replay | prune | status``."""

from playhead.cli.main import main

__all__ = ["main"]
