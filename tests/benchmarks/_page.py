"""What the benchmark of the widgets has a page do and count, and what it takes from the threads of a kernel."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from tests.browser.jupyter import Notebook

WATCH = """() => {
  const frame = window.requestAnimationFrame.bind(window);
  const bench = (window.bench = { frame, script: 0, tick: 0, painted: 0 });
  window.requestAnimationFrame = act => frame(at => {
    const begun = performance.now();
    try { act(at); } finally { bench.script += performance.now() - begun; }
    bench.painted = bench.tick;
  });
  const every = window.setInterval.bind(window);
  const timed = act => () => { bench.tick = performance.now(); act(); };
  window.setInterval = (act, ms, ...rest) => every(ms === 33 ? timed(act) : act, ms, ...rest); // the clock of a deck
  const heard = new Set();
  const note = ({ data }) => {
    let header, size;
    if (typeof data === 'string') [header, size] = [JSON.parse(data).header, data.length];
    else {
      const view = new DataView(data);
      const [from, to] = [2, 3].map(n => Number(view.getBigUint64(8 * n, true)));
      [header, size] = [JSON.parse(new TextDecoder().decode(new Uint8Array(data, from, to - from))), data.byteLength];
    }
    if (!/^comm_|display_data$/.test(header.msg_type) || heard.has(header.msg_id)) return;
    heard.add(header.msg_id);
    bench.messages++;
    bench.bytes += size;
  };
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      if (String(args[0]).includes('/channels')) this.addEventListener('message', note);
    }
  };
  new PerformanceObserver(list => {
    for (const one of list.getEntries()) bench.longest = Math.max(bench.longest, one.duration);
  }).observe({ type: 'longtask' });
  const zeros = { frames: 0, drawn: 0, messages: 0, bytes: 0, longest: 0 };
  bench.begin = () => Object.assign(bench, zeros, { begun: performance.now() });
  bench.end = () => {
    const s = (performance.now() - bench.begun) / 1000;
    const { frames, drawn, messages, bytes, longest } = bench;
    return { frames: frames / s, drawn: drawn / s, messages: messages / s, kilobytes: bytes / 1000 / s, longest };
  };
  bench.watch = root => {
    let isDrawn = false;
    const all = { subtree: true, childList: true, characterData: true, attributes: true };
    new MutationObserver(() => { isDrawn = true; }).observe(root.querySelector('.ph-view'), all);
    const count = () => {
      bench.frames++;
      if (isDrawn) bench.drawn++;
      isDrawn = false;
      frame(count);
    };
    bench.begin();
    frame(count);
  };
  bench.until = is => new Promise(done => {
    const look = () => (is() ? done(performance.now()) : frame(look));
    look();
  });
  bench.begin();
}"""
LOAD = """async ([selector, length, limit]) => {
  const old = document.querySelector(selector);
  const begun = performance.now();
  jupyterapp.commands.execute('notebook:run-all-cells');
  const end = await bench.until(() => {
    const root = document.querySelector(selector);
    return (root !== old && root?.dataset.position === String(length)) || performance.now() - begun > limit;
  });
  return end - begun;
}"""
SEEK = """async ([selector, values]) => {
  const root = document.querySelector(selector);
  const slider = root.querySelector('[role=slider]');
  const found = [];
  for (const value of values) {
    await new Promise(bench.frame);
    bench.script = 0;
    const begun = performance.now();
    slider.value = String(value);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    const handled = performance.now() - begun;
    await new Promise(bench.frame);
    const drawn = bench.script;
    const before = performance.now();
    root.getBoundingClientRect();
    found.push({ handled, drawn, laid: performance.now() - before, position: Number(root.dataset.position), value });
  }
  return found;
}"""
LIVE = """async ([selector, value]) => {
  const root = document.querySelector(selector);
  const slider = root.querySelector('[role=slider]');
  slider.value = String(value);
  slider.dispatchEvent(new Event('input', { bubbles: true }));
  await bench.until(() => root.dataset.live === 'false');
  await new Promise(done => setTimeout(done, 100));
  const begun = performance.now();
  root.querySelector('.ph-live').click();
  return await bench.until(() => root.dataset.live === 'true') - begun;
}"""
PLAY = """async ([selector, seconds]) => {
  const root = document.querySelector(selector);
  const press = (selector, value) => {
    const element = root.querySelector(selector);
    if (value === undefined) return element.click();
    element.value = value;
    element.dispatchEvent(new Event(element.matches('select') ? 'change' : 'input', { bubbles: true }));
  };
  press('[role=slider]', '0');
  press('select[aria-label=Speed]', '1000');
  await bench.until(() => root.dataset.position !== '0' && root.dataset.live === 'false');
  const frames = [];
  const note = () => frames.push({ at: Date.parse(root.dataset.at) / 1000, tick: bench.painted });
  press('.ph-play');
  const begun = (bench.tick = bench.painted = performance.now());
  note();
  await bench.until(() => { note(); return performance.now() - begun > seconds * 1000; });
  press('.ph-play');
  return frames;
}"""


class Threads:
    """The threads of a kernel, by the part they play."""

    def __init__(self, notebook: Notebook) -> None:
        names = "{t.native_id: t.name for t in threading.enumerate()}"
        ask = f"import json, os, threading\nprint(json.dumps([os.getpid(), {names}]))"
        found: tuple[int, dict[str, str]] = json.loads(notebook.ask(ask))
        self.pid, self._names = found

    def used(self) -> Counter[str]:
        """Seconds of a core that each used so far."""
        found: Counter[str] = Counter()
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                fields = (task / "stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:
                continue  # it ended meanwhile
            found[self._part(self._names.get(task.name, ""))] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    @staticmethod
    def _part(name: str) -> str:
        if name.startswith("playhead-"):
            return "the client's thread" if name == "playhead-client" else "the widget's thread"
        return "the main thread" if name == "MainThread" else "all other threads"
