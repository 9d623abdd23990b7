// The grid of executions: a summary, the rows in sight, and how many are out of sight. Only rows in sight are in the document.
import { eachFrame, h, say } from "./elements.js";
import { orderOf } from "./order.js";
import { COMPLETED, GLYPHS, SHOWN, STATES, count, duration } from "./words.js";

const ROW = 28;

/**
 * @typedef {import("./order.js").Rows} Rows
 * @typedef {import("./order.js").Row} Row
 */

/** One row of the document, used again for other executions. */
class Line {
  place = -1;
  at = -1;
  /** @type {unknown} */
  key = undefined;
  #glyph = h("span", { class: "ph-glyph", "aria-hidden": "true" });
  #word = h("span");
  #job = h("span", { class: "ph-name" });
  #attempt = h("span", { class: "ph-attempt" });
  #fill = h("i");
  #bar = h("span", { class: "ph-bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, this.#fill);
  #percent = h("span", { class: "ph-percent" });
  #step = h("span", { class: "ph-step" });
  #url = h("bdi", { dir: "ltr" });
  #time = h("span", { class: "ph-time", role: "cell" });
  element = h("div", { class: "ph-row", role: "row" },
    h("span", { class: "ph-state", role: "cell" }, this.#glyph, this.#word),
    h("span", { class: "ph-job", role: "cell" }, this.#job, this.#attempt),
    h("span", { class: "ph-progress", role: "cell" }, this.#bar, this.#percent),
    h("span", { class: "ph-detail", role: "cell" }, this.#step, h("span", { class: "ph-url" }, this.#url)),
    this.#time); // prettier-ignore

  /** @param {number} at */
  move(at) {
    if (this.at === at) return;
    this.at = at;
    this.element.style.transform = `translateY(${at * ROW}px)`;
    this.element.setAttribute("aria-rowindex", String(at + 1));
  }

  /** @param {Row} row */
  fill(row) {
    const { job, state, progress, step, url, error, attempt } = row;
    const data = this.element.dataset;
    data.job = job;
    data.state = STATES[state];
    data.progress = progress === null ? "" : String(progress);
    data.attempt = String(attempt);
    this.element.title = [job, attempt > 1 ? `attempt ${attempt}` : "", error, step, url].filter(Boolean).join("\n");
    const share = state === COMPLETED ? 1 : (progress ?? 0) / 100;
    say(this.#glyph, GLYPHS[state]);
    say(this.#word, STATES[state]);
    say(this.#job, job);
    say(this.#attempt, attempt > 1 ? `attempt ${attempt}` : "");
    say(this.#percent, state === COMPLETED ? "100 %" : progress === null ? "" : `${Math.floor(progress)} %`);
    say(this.#step, error || step);
    say(this.#url, error ? "" : url.replace(/^file:\/\//, ""));
    say(this.#time, row.duration === null ? "" : duration(row.duration));
    this.#fill.style.transform = `scaleX(${share})`;
    this.#bar.setAttribute("aria-valuenow", String(Math.floor(share * 100)));
    this.#bar.setAttribute("aria-label", `progress of ${job}`);
  }
}

export class GridView {
  /** @type {Line[]} */
  #lines = [];
  #order = new Uint32Array(0);
  #orderVersion = -1;
  #counts = STATES.map((name) => h("span", { class: "ph-count", "data-state": name }));
  #total = h("span", { class: "ph-total" });
  #parts = STATES.map((name) => h("i", { "data-state": name }));
  #pad = h("div", { class: "ph-pad", role: "rowgroup" });
  #view = h("div", { class: "ph-view", role: "table", tabindex: "0", "aria-label": "Executions", "data-lm-suppress-shortcuts": "true" }, this.#pad);
  #more = h("div", { class: "ph-more" });
  #frame = eachFrame(() => this.#paint());
  #rows;
  #most;
  #empty;

  /**
   * @param {HTMLElement} root
   * @param {Rows} rows
   * @param {number} most rows in sight
   * @param {string} empty what to say when there are none
   */
  constructor(root, rows, most, empty) {
    this.#rows = rows;
    this.#most = most;
    this.#empty = empty;
    const summary = h("div", { class: "ph-summary" }, ...SHOWN.map((state) => this.#counts[state]), this.#total);
    const shares = h("div", { class: "ph-shares", "aria-hidden": "true" }, ...[2, 3, 4, 1, 0].map((state) => this.#parts[state]));
    root.append(summary, shares, this.#view, this.#more);
    this.#view.addEventListener("scroll", () => this.#frame.ask(), { passive: true });
    this.#paint();
  }

  /** Draw in the next frame. */
  ask() {
    this.#frame.ask();
  }

  stop() {
    this.#frame.stop();
  }

  /** @param {number} most rows in sight */
  show(most) {
    this.#most = most;
    this.ask();
  }

  /** @param {Rows} rows other rows from now on */
  use(rows) {
    this.#rows = rows;
    this.#orderVersion = -1;
    for (const line of this.#lines) line.key = undefined;
    this.ask();
  }

  #paint() {
    const rows = this.#rows;
    if (this.#orderVersion !== rows.orderVersion) {
      this.#orderVersion = rows.orderVersion;
      this.#order = orderOf(rows);
      this.#summarise();
    }
    const n = rows.size;
    const visible = Math.min(this.#most, n);
    this.#view.style.height = `${visible * ROW}px`;
    this.#view.hidden = !n;
    this.#pad.style.height = `${n * ROW}px`;
    this.#view.setAttribute("aria-rowcount", String(n));
    const top = Math.max(0, Math.min(this.#view.scrollTop, (n - visible) * ROW));
    const first = Math.floor(top / ROW);
    const wanted = Math.min(n - first, visible + 1);
    while (this.#lines.length < wanted) {
      const line = new Line();
      this.#lines.push(line);
      this.#pad.append(line.element);
    }
    while (this.#lines.length > wanted) this.#lines.pop()?.element.remove();
    for (let at = first; at < first + wanted; at++) {
      const line = this.#lines[at % wanted]; // scrolling by a row fills one line, not all
      const place = this.#order[at];
      const key = rows.keyOf(place);
      line.move(at);
      if (line.place !== place || line.key !== key) {
        line.element.classList.toggle("ph-jump", line.place !== place); // a bar does not glide from one job to another
        line.place = place;
        line.key = key;
        line.fill(rows.rowAt(place));
      }
    }
    const above = Math.round(top / ROW);
    const below = n - visible - above;
    const parts = [above ? `${above.toLocaleString("en")} above` : "", below ? `${below.toLocaleString("en")} more below` : ""];
    say(this.#more, n > visible ? `and ${parts.filter(Boolean).join(", ")}` : n ? "" : this.#empty);
    this.#more.hidden = !this.#more.textContent;
  }

  #summarise() {
    const { counts, size } = this.#rows;
    STATES.forEach((name, state) => {
      const element = this.#counts[state];
      element.hidden = !counts[state];
      say(element, counts[state] ? `${GLYPHS[state]} ${counts[state].toLocaleString("en")} ${name}` : "");
      this.#parts[state].style.flexGrow = String(counts[state]);
    });
    say(this.#total, count(size, "execution"));
  }
}
