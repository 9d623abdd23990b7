// @ts-check
// What every widget shares: elements, words for states, the grid of executions. Joined in front of each widget's own file.
const STATES = ["queued", "running", "completed", "failed", "cancelled"];
const GLYPHS = ["·", "▸", "✓", "✕", "◌"];
const RANK = [2, 1, 4, 0, 3]; // failed and active first
const ROW = 26;

/** @param {string} tag @param {Record<string, string>} attributes @param {(Node|string)[]} children */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {DataView} view */
const textOf = (view) => new TextDecoder().decode(view instanceof DataView ? view : new DataView(view.buffer ?? view));

/** Rows are [job, state, progress, step, url, error, attempt]; only those in sight are in the document. */
class Grid {
  /** @param {HTMLElement} root @param {number} visible */
  constructor(root, visible) {
    /** @type {any[]} */ this.rows = [];
    this.order = [];
    this.frame = 0;
    this.pool = [];
    this.summary = h("div", { class: "ph-summary", role: "status", "aria-live": "polite" });
    this.pad = h("div", { class: "ph-pad", role: "rowgroup" });
    this.view = h("div", { class: "ph-view", role: "table", tabindex: "0", "aria-label": "Executions" }, this.pad);
    this.view.style.height = `${visible * ROW}px`;
    this.view.setAttribute("data-lm-suppress-shortcuts", "true");
    this.visible = visible;
    root.append(this.summary, this.view);
    this.view.addEventListener("scroll", () => this.poke());
  }
  poke() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.paint(); });
  }
  sort() {
    this.order = this.rows.map((_, index) => index).filter((index) => this.rows[index]);
    this.order.sort((a, b) => RANK[this.rows[a][1]] - RANK[this.rows[b][1]] || b - a);
  }
  paint() {
    this.sort();
    const counts = [0, 0, 0, 0, 0];
    for (const index of this.order) counts[this.rows[index][1]]++;
    const parts = [3, 1, 0, 2, 4].filter((state) => counts[state]).map((state) => `${GLYPHS[state]} ${counts[state].toLocaleString()} ${STATES[state]}`);
    const hidden = this.order.length - Math.min(this.visible, this.order.length);
    const text = this.order.length ? `${parts.join("   ")}   of ${this.order.length.toLocaleString()}${hidden ? ` — ${hidden.toLocaleString()} more below` : ""}` : "No executions yet";
    if (this.summary.textContent !== text) this.summary.textContent = text;
    this.pad.style.height = `${this.order.length * ROW}px`;
    const first = Math.floor(this.view.scrollTop / ROW);
    const shown = this.order.slice(first, first + this.visible + 2);
    while (this.pool.length < shown.length) this.pool.push(this.make());
    this.pool.forEach((row, place) => {
      row.root.hidden = place >= shown.length;
      if (place < shown.length) this.fill(row, this.rows[shown[place]], first + place);
    });
  }
  make() {
    const cells = { glyph: h("span", { class: "ph-state", role: "cell" }), job: h("span", { class: "ph-job", role: "cell" }), bar: h("i"), percent: h("span", { class: "ph-percent", role: "cell" }), step: h("span", { class: "ph-step", role: "cell" }) };
    const root = h("div", { class: "ph-row", role: "row" }, cells.glyph, cells.job, h("span", { class: "ph-bar", role: "cell", "aria-hidden": "true" }, cells.bar), cells.percent, cells.step);
    this.pad.append(root);
    return { root, ...cells };
  }
  fill(row, data, place) {
    const [job, state, progress, step, url, error, attempt] = data;
    row.root.style.transform = `translateY(${place * ROW}px)`;
    row.root.dataset.job = job;
    row.root.dataset.state = STATES[state];
    row.root.dataset.progress = progress ?? "";
    row.glyph.textContent = `${GLYPHS[state]} ${STATES[state]}`;
    row.job.textContent = attempt > 1 ? `${job} (attempt ${attempt})` : job;
    row.root.title = [job, step, url, error].filter(Boolean).join("\n");
    row.bar.style.transform = `scaleX(${state === 2 ? 1 : (progress ?? 0) / 100})`;
    row.percent.textContent = progress == null ? "" : `${Math.round(progress)} %`;
    row.step.textContent = error || step || "";
  }
}
