"""Events as files: written in each format as they stream, and read from ours and from those of other systems."""

from playhead.files.writing import FORMATS, pieces, write, write_by_day

__all__ = ["FORMATS", "pieces", "write", "write_by_day"]
