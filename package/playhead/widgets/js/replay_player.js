const KEY = 2000;
export default () => {
  // changes are [ms, row index, row]; keyframes hold the rows before every KEY-th change
  const tape = { changes: [], keys: [], at: 0, isPlaying: false, isLive: true, speed: 1, listeners: new Set() };
  const begin = () => (tape.changes.length ? tape.changes[0][0] : 0);
  const end = () => (tape.changes.length ? tape.changes[tape.changes.length - 1][0] : 0);
  const last = [];
  const add = (changes) => {
    for (const change of changes) {
      if (tape.changes.length % KEY === 0) tape.keys.push(last.slice());
      last[change[1]] = change[2];
      tape.changes.push(change);
    }
    if (tape.isLive) tape.at = end();
    tell();
  };
  const tell = () => tape.listeners.forEach((listener) => listener());
  const rowsAt = (ms) => {
    let low = 0, high = tape.changes.length;
    while (low < high) { const middle = (low + high) >> 1; tape.changes[middle][0] <= ms ? (low = middle + 1) : (high = middle); }
    const key = Math.min(tape.keys.length - 1, Math.floor(low / KEY));
    const rows = key >= 0 ? tape.keys[key].slice() : [];
    for (let index = Math.max(0, key) * KEY; index < low; index++) rows[tape.changes[index][1]] = tape.changes[index][2];
    return rows;
  };
  const seek = (ms) => { tape.at = Math.max(begin(), Math.min(end(), ms)); tape.isLive = tape.at >= end(); if (tape.isLive) tape.isPlaying = false; tell(); };
  return {
    initialize({ model }) {
      const load = () => { const data = model.get("history"); if (data && data.byteLength && !tape.changes.length) add(JSON.parse(textOf(data))); };
      const take = (message, buffers) => { if (message.kind === "changes" && message.first === tape.changes.length) add(JSON.parse(textOf(buffers[0]))); };
      load();
      model.on("change:history", load);
      model.on("msg:custom", take);
      let before = performance.now(), told = 0; // one clock, however many views
      const clock = setInterval(() => {
        const now = performance.now();
        if (tape.isPlaying) seek(tape.at + (now - before) * tape.speed);
        before = now;
        if (tape.at !== told && !tape.isPlaying) { told = tape.at; model.set("at_ms", tape.at); model.save_changes(); }
      }, 33);
      return () => { clearInterval(clock); model.off("change:history", load); model.off("msg:custom", take); };
    },
    render({ model, el }) {
      const play = h("button", { type: "button", class: "ph-button" });
      const live = h("button", { type: "button", class: "ph-button" }, "● Live");
      const speed = h("select", { class: "ph-button", "aria-label": "Speed" });
      for (const value of [0.1, 0.5, 1, 2, 10, 60, 100, 1000]) speed.append(h("option", { value: String(value) }, `${value}×`));
      speed.value = "1";
      const slider = h("input", { type: "range", class: "ph-slider", role: "slider", min: "0", max: "1000", step: "any", "aria-label": "Position", "data-lm-suppress-shortcuts": "true" });
      const time = h("span", { class: "ph-time" });
      const bar = h("div", { class: "ph-head ph-controls" }, play, live, speed, slider, time);
      const root = h("div", { class: "ph", "data-playhead": "replay-player" }, bar);
      el.append(root);
      const grid = new Grid(root, model.get("max_display"));
      const span = () => Math.max(1, end() - begin());
      const draw = () => {
        play.textContent = tape.isPlaying ? "❚❚ Pause" : "▶ Play";
        live.setAttribute("aria-pressed", String(tape.isLive));
        root.dataset.live = String(tape.isLive);
        slider.value = String((1000 * (tape.at - begin())) / span());
        const text = tape.changes.length ? new Date(tape.at).toISOString().slice(0, 23).replace("T", " ") + " UTC" : "nothing recorded yet";
        slider.setAttribute("aria-valuetext", text);
        time.textContent = text;
        grid.rows = rowsAt(tape.at);
        grid.poke();
      };
      play.addEventListener("click", () => { if (tape.isLive && !tape.isPlaying) { tape.at = begin(); tape.isLive = false; } tape.isPlaying = !tape.isPlaying; tell(); });
      live.addEventListener("click", () => seek(end()));
      speed.addEventListener("change", () => { tape.speed = Number(speed.value); });
      slider.addEventListener("input", () => { tape.isPlaying = false; seek(begin() + (span() * Number(slider.value)) / 1000); });
      slider.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -0.01, ArrowRight: 0.01, PageDown: -0.1, PageUp: 0.1 }[event.key];
        if (event.key === "Home") seek(begin());
        else if (event.key === "End") seek(end());
        else if (event.key === " ") play.click();
        else if (step) seek(tape.at + step * span());
        else return;
        event.preventDefault();
        event.stopPropagation();
      });
      tape.listeners.add(draw);
      draw();
      return () => tape.listeners.delete(draw);
    },
  };
};
