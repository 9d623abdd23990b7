// One line of a grid in the document, used again for other executions: an execution, or the head of a batch.
import { h, say } from "./elements.js";
import { COMPLETED, GLYPHS, RUNNING, SHOWN, STATES, count, duration } from "./words.js";

export const LINE = 28;

/**
 * @typedef {import("./order.js").Row} Row
 * @typedef {import("./order.js").Group} Group
 */

export class Line {
  entry = NaN;
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
  #time = h("span", { class: "ph-time", role: "gridcell" });
  #head = h("span", { class: "ph-group", role: "gridcell" });
  element;

  /** @param {string} id */
  constructor(id) {
    this.element = h("div", { class: "ph-row", role: "row", id },
      h("span", { class: "ph-state", role: "gridcell" }, this.#glyph, this.#word),
      h("span", { class: "ph-job", role: "gridcell" }, this.#job, this.#attempt),
      h("span", { class: "ph-progress", role: "gridcell" }, this.#bar, this.#percent),
      h("span", { class: "ph-detail", role: "gridcell" }, this.#step, h("span", { class: "ph-url" }, this.#url)),
      this.#time, this.#head); // prettier-ignore
    this.#head.hidden = true;
  }

  /** @param {number} at */
  move(at) {
    if (this.at === at) return;
    this.at = at;
    this.element.style.transform = `translateY(${at * LINE}px)`;
    this.element.setAttribute("aria-rowindex", String(at + 1));
  }

  /** Whether it is the one looked at, or the one that keys speak to. @param {boolean} isSelected @param {boolean} isActive */
  mark(isSelected, isActive) {
    if (this.element.ariaSelected !== String(isSelected)) this.element.ariaSelected = String(isSelected);
    this.element.classList.toggle("ph-active", isActive);
  }

  /** @param {boolean} isHead */
  #isHead(isHead) {
    if (this.#head.hidden !== isHead) return;
    this.#head.hidden = !isHead;
    for (const cell of this.element.children) if (cell !== this.#head) /** @type {HTMLElement} */ (cell).hidden = isHead;
    for (const name of isHead ? ["job", "state", "progress", "attempt"] : ["group"]) delete this.element.dataset[name];
    if (!isHead) this.element.removeAttribute("aria-expanded");
  }

  /** @param {Row} row */
  fill(row) {
    this.#isHead(false);
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
    this.#bar.style.visibility = state === COMPLETED || progress !== null || state === RUNNING ? "" : "hidden";
    this.#fill.style.transform = `scaleX(${share})`;
    this.#bar.setAttribute("aria-valuenow", String(Math.floor(share * 100)));
    this.#bar.setAttribute("aria-label", `progress of ${job}`);
  }

  /** @param {Group} group @param {boolean} isFolded */
  head(group, isFolded) {
    this.#isHead(true);
    this.element.dataset.group = group.batch;
    this.element.title = group.batch;
    this.element.setAttribute("aria-expanded", String(!isFolded));
    const states = SHOWN.filter((state) => group.counts[state]).map((state) => `${GLYPHS[state]} ${group.counts[state].toLocaleString("en")} ${STATES[state]}`);
    this.#head.replaceChildren(
      h("span", { class: "ph-fold", "aria-hidden": "true" }, isFolded ? "▸" : "▾"),
      h("b", { class: "ph-name" }, group.batch || "no batch"),
      h("span", { class: "ph-soft" }, `${count(group.size, "execution")}: ${states.join(" · ")}`),
    );
  }
}
