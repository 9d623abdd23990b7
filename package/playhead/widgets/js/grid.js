// The grid of executions: a summary, what is asked of it, the rows in sight, one of them in full, and how many are out of
// sight or left out. Only rows in sight are in the document.
import { Card } from "./card.js";
import { Announcer, button, choice, eachFrame, h, keyed, newId, put, say, searchField } from "./elements.js";
import { LINE, Line } from "./line.js";
import { Viewer, everything, narrows } from "./order.js";
import { GLYPHS, SHOWN, STATES, count } from "./words.js";

const MANY = 2000; // rows; what depends on more than their states is put in order anew twice a second at most
const SLOW_MS = 500;

/**
 * @typedef {import("./order.js").Rows} Rows
 * @typedef {import("./card.js").Story} Story
 * @typedef {object} Source where a grid's rows come from, and who else looks at them
 * @property {() => Rows} rows
 * @property {() => number} selected a place, -1 for none
 * @property {(place: number) => void} select
 * @property {(place: number) => Story} story what a card tells of an execution's events
 * @property {() => number | null} now the moment shown, in microseconds; null while nothing tells
 */

export class GridView {
  /** @type {Line[]} */
  #lines = [];
  #viewer = new Viewer();
  #query = everything();
  /** @type {import("./order.js").View} */
  #shown = { entries: new Int32Array(0), groups: [], matching: 0 };
  /** What was put in order, and when. */
  #made = { rows: /** @type {Rows | null} */ (null), order: -1, version: -1, at: 0 };
  /** The line that keys speak to. */
  #active = 0;
  #chips = STATES.map((name, state) => button("", `only ${name}`, () => this.#toggle(state)));
  #total = h("span", { class: "ph-total" });
  #parts = STATES.map((name) => h("i", { "data-state": name }));
  #pad = h("div", { class: "ph-pad", role: "rowgroup" });
  #view = keyed(h("div", { class: "ph-view", role: "grid", tabindex: "0", "aria-label": "Executions" }, this.#pad));
  #more = h("div", { class: "ph-more" });
  #hidden = h("span");
  #clear = button("show all", "show all executions", () => this.#ask({ search: "", states: new Set() }));
  #search = searchField("Search jobs, sites, steps, urls and errors", (search) => this.#ask({ search }));
  #sort = choice("Order", [["state", "failed first"], ["newest", "newest first"], ["job", "by job"], ["progress", "by progress"], ["duration", "by duration"]],
    (sort) => this.#ask({ sort: /** @type {import("./order.js").Sort} */ (sort) })); // prettier-ignore
  #group = button("by batch", "group by batch", () => this.#ask({ isGrouped: !this.#query.isGrouped }));
  #frame = eachFrame(() => this.#paint());
  #announcer = new Announcer();
  #later = 0;
  #top = 0;
  #id = newId();
  #card;
  #source;
  #most;
  #empty;

  /**
   * @param {HTMLElement} root
   * @param {Source} source
   * @param {number} most rows in sight
   * @param {string} empty what to say when there are none
   */
  constructor(root, source, most, empty) {
    this.#source = source;
    this.#most = most;
    this.#empty = empty;
    this.#card = new Card(() => source.select(-1));
    STATES.forEach((name, state) => {
      this.#chips[state].className = "ph-count";
      this.#chips[state].dataset.state = name;
    });
    const summary = h("div", { class: "ph-summary" }, ...SHOWN.map((state) => this.#chips[state]), this.#total);
    const tools = h("div", { class: "ph-tools" }, this.#search, this.#sort, this.#group);
    const shares = h("div", { class: "ph-shares", "aria-hidden": "true" }, ...[2, 3, 4, 1, 0].map((state) => this.#parts[state]));
    const left = h("div", { class: "ph-left" }, this.#hidden, this.#clear);
    root.append(h("div", { class: "ph-bar-of-grid" }, summary, tools), shares, left, this.#view, this.#more, this.#card.element, this.#announcer.element);
    this.#view.addEventListener("scroll", () => {
      this.#top = this.#view.scrollTop; // read here, not between writes, which would have the page laid out at each frame
      this.#frame.ask();
    }, { passive: true }); // prettier-ignore
    this.#view.addEventListener("keydown", (event) => this.#key(event));
    this.#view.addEventListener("click", (event) => this.#click(event));
    this.#paint();
  }

  /** Draw in the next frame. */
  ask() {
    this.#frame.ask();
  }

  stop() {
    this.#frame.stop();
    this.#announcer.stop();
    clearTimeout(this.#later);
  }

  /** @param {number} most rows in sight */
  show(most) {
    this.#most = most;
    this.ask();
  }

  /** @param {Partial<import("./order.js").Query>} change */
  #ask(change) {
    Object.assign(this.#query, change);
    if (change.search === "") this.#search.value = "";
    this.#group.setAttribute("aria-pressed", String(this.#query.isGrouped));
    this.#made.version = this.#made.order = -1;
    this.#made.at = 0;
    this.ask();
  }

  /** @param {number} state */
  #toggle(state) {
    const states = new Set(this.#query.states);
    if (!states.delete(state)) states.add(state);
    this.#ask({ states });
  }

  /** @param {number} at a line */
  #open(at) {
    const entry = this.#shown.entries[at];
    if (entry === undefined) return;
    this.#active = at;
    if (entry >= 0) this.#source.select(entry === this.#source.selected() ? -1 : entry);
    else {
      const { batch } = this.#shown.groups[-1 - entry];
      if (!this.#query.folded.delete(batch)) this.#query.folded.add(batch);
      this.#ask({});
    }
    this.ask();
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const line = this.#lines.find((one) => one.element.contains(/** @type {Node} */ (event.target)));
    if (line) this.#open(line.at);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const last = this.#shown.entries.length - 1;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: this.#most, PageUp: -this.#most, Home: -Infinity, End: Infinity };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (step) {
      this.#active = Math.max(0, Math.min(last, this.#active + step));
      const top = this.#active * LINE;
      this.#view.scrollTop = Math.min(top, Math.max(this.#view.scrollTop, top + LINE - this.#view.clientHeight));
      this.ask();
    } else if (event.key === "Enter") this.#open(this.#active);
    else if (event.key === "Escape" && this.#source.selected() >= 0) this.#source.select(-1);
    else if (event.key === "/") this.#search.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Put the rows in order anew when something about it may have changed, what is much work not at each frame. */
  #arrange() {
    const rows = this.#source.rows();
    const made = this.#made;
    const depends = this.#query.search !== "" || this.#query.sort === "progress";
    const isOld = made.rows !== rows || made.order !== rows.orderVersion || (depends && made.version !== rows.version);
    if (!isOld) return;
    const wait = made.rows === rows && rows.size > MANY && (depends || this.#query.isGrouped || this.#query.sort !== "state") ? made.at + SLOW_MS - performance.now() : 0;
    if (wait > 0) {
      this.#later ||= setTimeout(() => {
        this.#later = 0;
        this.ask();
      }, wait);
      return;
    }
    if (made.rows !== rows) for (const line of this.#lines) line.key = undefined;
    this.#made = { rows, order: rows.orderVersion, version: rows.version, at: performance.now() };
    this.#shown = this.#viewer.view(rows, this.#query);
    this.#summarise(rows);
  }

  #paint() {
    this.#arrange();
    const rows = this.#source.rows();
    const { entries, groups } = this.#shown;
    const n = entries.length;
    const visible = Math.min(this.#most, n);
    put(this.#view, "height", `${visible * LINE}px`);
    this.#view.hidden = !n;
    put(this.#pad, "height", `${n * LINE}px`);
    if (this.#view.ariaRowCount !== String(n)) this.#view.ariaRowCount = String(n);
    this.#active = Math.max(0, Math.min(this.#active, n - 1));
    const top = Math.max(0, Math.min(this.#top, (n - visible) * LINE));
    const first = Math.floor(top / LINE);
    const wanted = Math.min(n - first, visible + 1);
    while (this.#lines.length < wanted) {
      const line = new Line(`${this.#id}-${this.#lines.length}`);
      this.#lines.push(line);
      this.#pad.append(line.element);
    }
    while (this.#lines.length > wanted) this.#lines.pop()?.element.remove();
    const selected = this.#source.selected();
    for (let at = first; at < first + wanted; at++) {
      const line = this.#lines[at % wanted]; // scrolling by a row fills one line, not all
      const entry = entries[at];
      const key = entry < 0 ? groups[-1 - entry] : rows.keyOf(entry);
      line.move(at);
      line.mark(entry >= 0 && entry === selected, at === this.#active);
      if (at === this.#active && this.#view.getAttribute("aria-activedescendant") !== line.element.id) this.#view.setAttribute("aria-activedescendant", line.element.id);
      if (line.entry === entry && line.key === key) continue;
      line.entry = entry;
      line.key = key;
      if (entry < 0) line.head(groups[-1 - entry], this.#query.folded.has(groups[-1 - entry].batch));
      else line.fill(rows.rowAt(entry));
    }
    this.#tellRest(rows, n, first, visible);
    const isKnown = selected >= 0 && rows.stateOf(selected) < STATES.length;
    this.#card.show(isKnown ? rows.rowAt(selected) : null, isKnown ? this.#source.story(selected) : null, this.#source.now());
  }

  /** @param {Rows} rows @param {number} n @param {number} first @param {number} visible */
  #tellRest(rows, n, first, visible) {
    const above = first;
    const below = n - first - visible;
    const parts = [above ? `${above.toLocaleString("en")} above` : "", below > 0 ? `${below.toLocaleString("en")} more below` : ""];
    const none = rows.size ? "None of them matches." : this.#empty;
    say(this.#more, n > visible ? `and ${parts.filter(Boolean).join(", ")}` : n ? "" : none);
    this.#more.hidden = !this.#more.textContent;
    const left = rows.size - this.#shown.matching;
    const isNarrow = narrows(this.#query);
    /** @type {HTMLElement} */ (this.#hidden.parentElement).hidden = !isNarrow;
    say(this.#hidden, `${this.#shown.matching.toLocaleString("en")} of ${count(rows.size, "execution")} shown, ${Math.max(0, left).toLocaleString("en")} left out `);
  }

  /** @param {Rows} rows */
  #summarise({ counts, size }) {
    STATES.forEach((name, state) => {
      const chip = this.#chips[state];
      const isAsked = this.#query.states.has(state);
      chip.hidden = !counts[state] && !isAsked;
      chip.setAttribute("aria-pressed", String(isAsked));
      say(chip, chip.hidden ? "" : `${GLYPHS[state]} ${counts[state].toLocaleString("en")} ${name}`);
      const label = `${counts[state].toLocaleString("en")} ${name}: show only these`;
      chip.setAttribute("aria-label", label);
      chip.title = isAsked ? "press to show the others too" : `show only ${name}`;
      this.#parts[state].style.flexGrow = String(counts[state]);
    });
    say(this.#total, count(size, "execution"));
    this.#announcer.say(SHOWN.filter((state) => counts[state]).map((state) => `${counts[state]} ${STATES[state]}`).join(", "));
  }
}
