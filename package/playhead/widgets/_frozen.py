"""A widget's last state as HTML of its own: one document with script, style and data, that asks for nothing else."""

from __future__ import annotations

import base64
import re
from html import escape
from typing import Any

import msgspec

from playhead.times import now

_EXPORT = re.compile(r"export\s*\{\s*(\w+) as default\s*\};?\s*$")
_OF_THE_HOST = ("layout", "tabbable", "tooltip")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>:root {{ color-scheme: light dark; }} body {{ margin: 0; padding: {padding}; }} {css}</style></head>
<body><main id="widget"></main>
<script type="application/json" id="state">{state}</script>
<script type="module">
{frame}
const state = JSON.parse(document.getElementById("state").textContent);
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
state.page.pieces = (state.page.pieces ?? []).map(bytes);
{module}
const heard = {{}};
const model = {{
  get: (name) => state[name], send() {{}}, save_changes() {{}},
  set(name, value) {{ state[name] = value; }},
  on(name, act) {{ (heard[name] ??= new Set()).add(act); }}, off(name, act) {{ heard[name]?.delete(act); }},
}};
const widget = make();
widget.initialize?.({{ model }});
widget.render({{ model, el: document.getElementById("widget") }});
</script></body></html>
"""
# in an output: as high as what it shows, in the colours and fonts of the notebook around it, in place of the table beside it
_FRAME = """
const frame = window.frameElement;
if (frame) {
  frame.previousElementSibling.hidden = true;
  const around = frame.ownerDocument;
  const dress = () => {
    const theme = around.body.dataset.jpThemeLight;
    if (!theme) return;
    const style = frame.ownerDocument.defaultView.getComputedStyle(around.body);
    for (const part of ["layout-color1", "ui-font-color1", "border-color2", "ui-font-family", "code-font-family"]) {
      const name = `--jp-${part}`;
      document.documentElement.style.setProperty(name, style.getPropertyValue(name));
    }
    document.body.dataset.jpThemeLight = theme;
  };
  dress();
  const changes = { attributes: true, attributeFilter: ["data-jp-theme-light"] };
  new MutationObserver(() => setTimeout(dress, 100)).observe(around.body, changes);
  const fit = () => { frame.style.height = `${document.body.scrollHeight + 2}px`; };
  new ResizeObserver(fit).observe(document.getElementById("widget"));
}
"""


def document(esm: Any, css: Any, state: dict[str, Any], title: str, *, is_framed: bool = False) -> str:
    """A whole document."""
    module = _EXPORT.sub(r"const make = \1;", str(esm))
    kept = {name: value for name, value in state.items() if not name.startswith("_") and name not in _OF_THE_HOST}
    page = dict(kept["page"])
    page["pieces"] = [base64.b64encode(piece).decode() for piece in page.get("pieces", ())]
    page["status"] = page["status"] | {"state": "saved", "since": now().timestamp() * 1000}
    text = msgspec.json.encode(kept | {"page": page}).decode()
    return _PAGE.format(
        title=escape(title), css=css, module=module.replace("</", "<\\/"), state=text.replace("<", "\\u003c"),
        frame=_FRAME if is_framed else "", padding="0" if is_framed else "12px",
    )  # fmt: skip


def frozen_html(esm: Any, css: Any, state: dict[str, Any], table: str, title: str) -> str:
    """The same within an output, with the table for where no script runs."""
    page = document(esm, css, state, title, is_framed=True)
    frame = f'<iframe title="{escape(title)}" style="width: 100%; height: 360px; border: 0" srcdoc="{escape(page)}"></iframe>'
    return f"<div><div>{table}</div>{frame}</div>"
