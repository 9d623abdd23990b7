// One execution in full: what is known of it at the marker, and its events, newest first.
import { button, h, say } from "./elements.js";
import { GLYPHS, STATES, clockUtc, count, duration, moment } from "./words.js";

const MOST = 100; // events in the list; how many more there are is said

/**
 * @typedef {import("./order.js").Row} Row
 * @typedef {import("./tape.js").Told} Told
 * @typedef {{count: number, events: () => Iterable<Told>, note: string}} Story events of an execution, or why there are none here
 */

export class Card {
  element = h("div", { class: "ph-card", role: "group", "aria-label": "Execution" });
  #title = h("b");
  #state = h("span", { class: "ph-word" });
  #facts = h("div", { class: "ph-facts" });
  #count = h("div", { class: "ph-soft" });
  #list = h("div", { role: "list", class: "ph-events-of", tabindex: "0", "aria-label": "Events of the execution" });
  #shown = "";

  /** @param {() => void} close */
  constructor(close) {
    const head = h("div", { class: "ph-card-head" }, this.#state, this.#title, button("✕", "close the card", close));
    this.element.append(head, this.#facts, this.#count, this.#list);
    this.element.hidden = true;
  }

  /** @param {Row | null} row none closes it @param {Story | null} story @param {number | null} now */
  show(row, story, now) {
    this.element.hidden = !row;
    if (!row || !story) return;
    const facts = factsOf(row, now);
    const key = JSON.stringify([facts, row.job, row.state, story.count, story.note]);
    if (key === this.#shown) return;
    this.#shown = key;
    this.element.dataset.state = STATES[row.state];
    say(this.#title, row.job);
    say(this.#state, `${GLYPHS[row.state]} ${STATES[row.state]}`);
    this.#facts.replaceChildren(...facts.flatMap(([name, value]) => [h("span", { class: "ph-soft" }, name), h("span", {}, link(value))]));
    /** @type {HTMLElement[]} */
    const lines = [];
    for (const event of story.events()) {
      if (lines.length === MOST) break;
      lines.push(h("div", { role: "listitem" }, h("span", { class: "ph-when" }, clockUtc(event.at)), h("span", { class: "ph-type" }, event.type), h("span", { class: "ph-said" }, saidBy(event))));
    }
    const older = story.count - lines.length;
    say(this.#count, story.note || `${count(story.count, "event")}, newest first${lines.length && older > 0 ? `; ${older.toLocaleString("en")} older are not listed here` : ""}`);
    this.#list.hidden = !lines.length;
    this.#list.replaceChildren(...lines);
  }
}

/** What an event said, in a line. @param {Told} event */
export function saidBy({ progress, step, url, error, message }) {
  return [error, message, step, progress === null ? "" : `${Math.floor(progress)} %`, url].filter(Boolean).join(" · ");
}

/** @param {Row} row @param {number | null} now @returns {[string, string][]} */
function factsOf(row, now) {
  const lasted = row.duration ?? (row.state === 1 && row.started !== null && now !== null ? Math.max(0, now - row.started) / 1000 : null);
  const when = (/** @type {number | null} */ us) => (us === null ? "" : moment(us));
  /** @type {[string, string][]} */
  const all = [
    ["error", row.error], ["goal", row.goal], ["site", [row.siteName, row.siteUrl].filter(Boolean).join("  ")], ["step", row.step],
    ["url", row.url], ["progress", row.progress === null ? "" : `${row.progress} %`], ["attempt", String(row.attempt)],
    ["execution", row.execution], ["batch", row.batch], ["queued", when(row.queued)], ["started", when(row.started)],
    ["ended", when(row.ended)], [row.ended === null ? "runs for" : "took", lasted === null ? "" : duration(lasted)],
  ]; // prettier-ignore
  return all.filter(([, value]) => value);
}

/** A web address is one to follow; anything else is text. @param {string} value @returns {Node | string} */
function link(value) {
  return /^https?:\/\/[^\s]+$/.test(value) ? h("a", { href: value, target: "_blank", rel: "noopener noreferrer" }, value) : value;
}
