"""The API reference: docstrings as they are, the notebooks as guides."""

from __future__ import annotations

from importlib import metadata
from typing import Any

project = "playhead"
author = copyright = "The playhead authors"
release = version = metadata.version("playhead")
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "playhead"

default_role = "code"  # `name`, as docstrings write it
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # what is before a colon there is prose
nb_execution_mode = "off"  # the suite runs them
suppress_warnings = ["ref.python", "mystnb.unknown_mime_type"]


def _is_theirs(app: Any, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Leave out what a class has from a library: that is explained there."""
    told = getattr(member, "fget", member)
    home = getattr(told, "__module__", None) or getattr(getattr(told, "__objclass__", None), "__module__", None) or "playhead"
    return None if home.startswith("playhead") else True


def setup(app: Any) -> None:
    """As Sphinx calls it."""
    app.connect("autodoc-skip-member", _is_theirs)
