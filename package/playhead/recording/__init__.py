"""The log on disk: a directory named ``*.playhead``."""

from playhead.recording.log import Recording
from playhead.recording.requests import Appended

__all__ = ["Appended", "Recording"]
