"""
The server in JupyterLab: what jupyter-server-proxy is told of it, so that there is a tile for it in the launcher.

It is started by the first request to ``/playhead/`` and ends with Jupyter. Who comes that way has signed in to Jupyter, so the
proxy adds the token itself; the port stays closed to everybody else on the machine. The recording is ``playhead.playhead`` in
the folder that Jupyter shows, or PLAYHEAD_RECORDING.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from pathlib import Path
from typing import Any

_ICON = Path(__file__).with_name("playhead.svg")
_START_S = 20.0  # a cold start takes 2 s; what cannot start, as its recording is in use, is tried for as long


def tile() -> dict[str, Any]:
    """The entry point of ``jupyter_serverproxy_servers``: options of a ServerProcess of jupyter-server-proxy."""
    recording = os.environ.get("PLAYHEAD_RECORDING") or str(_folder() / "playhead.playhead")
    # one that is set already is what kernels send too, as they have the same variables
    token = _literal(os.environ.get("PLAYHEAD_TOKEN") or secrets.token_urlsafe(32))
    served = [_literal(recording), "--host", "127.0.0.1", "--port", "{port}", "--root-path", "{base_url}playhead"]
    return {
        "command": [_literal(sys.executable), "-P", "-m", "playhead", "serve", *served],  # -P: not what lies in the folder
        "environment": {"PLAYHEAD_TOKEN": token},
        "request_headers_override": {"X-Playhead-Token": token},
        "timeout": _START_S,
        "launcher_entry": {
            "title": "playhead", "icon_path": str(_ICON),
            "category": "Notebook",  # JupyterLab draws no icon_path in "Other"
            "enabled": importlib.util.find_spec("uvicorn") is not None,  # no tile where there is only the client
        },
    }  # fmt: skip


def _folder() -> Path:
    """What the Jupyter that runs in this process shows; where it was started, when it does not say."""
    from traitlets.config import Application

    told = getattr(Application.instance(), "root_dir", None) if Application.initialized() else None
    return Path(told or os.curdir).absolute()


def _literal(text: str) -> str:
    """Text that stays what it is when the proxy fills in ``{port}`` and ``{base_url}``."""
    return text.replace("{", "{{").replace("}", "}}")
