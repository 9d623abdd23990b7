// The events up to the marker, newest first: all of them, or those asked for, and how many are left out. Only lines in sight
// are in the document.
import { saidBy } from "./card.js";
import { choice, eachFrame, h, keyed, put, say, searchField } from "./elements.js";
import { GLYPHS, STATES, clockUtc, count } from "./words.js";

const LINE = 24;
const SLICE_MS = 12; // of a frame, for looking through what may match

/** @typedef {import("./tape.js").Tape} Tape */

export class FeedView {
  /** @type {HTMLElement[]} */
  #lines = [];
  #pad = h("div", { class: "ph-pad", role: "rowgroup" });
  #view = keyed(h("div", { class: "ph-view ph-feed", role: "grid", tabindex: "0", "aria-label": "Events, newest first" }, this.#pad));
  #count = h("span", { class: "ph-total" });
  #more = h("div", { class: "ph-more" });
  #kind = choice("Which events", [["", "all events"], ["failure", "failures"], ["change", "starts and ends"], ["log", "messages"]], () => this.#anew());
  #search = searchField("Search types, jobs, batches, steps, urls, messages and errors", () => this.#anew());
  #frame = eachFrame(() => this.#paint());
  /** Events that match, in order, of the first `#looked` ones. */
  #found = new Uint32Array(1024);
  #matching = 0;
  #looked = 0;
  #before = 0;
  #top = 0;
  /** @type {Tape | null} */
  #tape = null;
  #deck;
  #most;

  /** @param {HTMLElement} root @param {import("./deck.js").Deck} deck @param {number} most lines in sight */
  constructor(root, deck, most) {
    this.#deck = deck;
    this.#most = most;
    root.append(h("div", { class: "ph-tools" }, this.#search, this.#kind, this.#count), this.#view, this.#more);
    this.#view.addEventListener("scroll", () => {
      this.#top = this.#view.scrollTop;
      this.#frame.ask();
    }, { passive: true }); // prettier-ignore
    this.#view.addEventListener("click", (event) => this.#click(event));
    this.#view.addEventListener("keydown", (event) => {
      if (event.key === "Escape") deck.select(-1);
    });
    this.#paint();
  }

  ask() {
    this.#frame.ask();
  }

  stop() {
    this.#frame.stop();
  }

  /** @param {number} most */
  show(most) {
    this.#most = most;
    this.ask();
  }

  #anew() {
    this.#matching = this.#looked = this.#before = 0;
    this.#view.scrollTop = this.#top = 0;
    this.ask();
  }

  get #isNarrow() {
    return this.#kind.value !== "" || this.#search.value.trim() !== "";
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const line = this.#lines.find((one) => one.contains(/** @type {Node} */ (event.target)));
    const index = Number(line?.dataset.index ?? -1);
    if (index < 0) return;
    const { tape } = this.#deck;
    const place = tape.placeAt(index);
    if (tape.pairs[place][1] !== null) this.#deck.select(place === this.#deck.selected ? -1 : place);
  }

  /** @param {Tape} tape @param {number} index @param {string[]} words */
  #matches(tape, index, words) {
    const event = tape.eventAt(index);
    const kind = this.#kind.value;
    if (kind === "failure" && event.type !== "job_failed" && event.type !== "job_cancelled") return false;
    if (kind === "change" && (event.type === "job_progress" || event.type === "job_log")) return false;
    if (kind === "log" && !event.message) return false;
    if (!words.length) return true;
    const text = [event.type, event.job, event.execution, event.batch, event.step, event.url, event.error, event.message].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  /** Look on through what may match, for a part of a frame. @param {Tape} tape */
  #look(tape) {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const until = performance.now() + SLICE_MS;
    while (this.#looked < tape.length && (this.#looked % 64 || performance.now() < until)) {
      if (this.#matches(tape, this.#looked, words)) {
        if (this.#matching === this.#found.length) {
          const wider = new Uint32Array(2 * this.#matching);
          wider.set(this.#found);
          this.#found = wider;
        }
        this.#found[this.#matching++] = this.#looked;
      }
      this.#looked++;
    }
    if (this.#looked < tape.length) this.ask();
  }

  /** How many of those found are before the marker. @param {number} position */
  #foundTo(position) {
    let low = 0;
    let high = this.#matching;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#found[middle] < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #paint() {
    const { tape } = this.#deck;
    if (tape !== this.#tape) {
      this.#tape = tape;
      this.#matching = this.#looked = this.#before = 0;
      for (const line of this.#lines) delete line.dataset.index;
    }
    const isNarrow = this.#isNarrow;
    if (isNarrow) this.#look(tape);
    const n = isNarrow ? this.#foundTo(tape.position) : tape.position;
    const visible = Math.min(this.#most, n);
    put(this.#view, "height", `${Math.max(1, visible) * LINE}px`);
    this.#view.hidden = !n;
    put(this.#pad, "height", `${n * LINE}px`);
    if (this.#view.ariaRowCount !== String(n)) this.#view.ariaRowCount = String(n);
    if (this.#top > 1 && n !== this.#before) this.#view.scrollTop = this.#top = Math.max(0, this.#top + (n - this.#before) * LINE); // what is read stays in sight
    this.#before = n;
    const top = Math.max(0, Math.min(this.#top, (n - visible) * LINE));
    const first = Math.floor(top / LINE);
    const wanted = Math.min(n - first, visible + 1);
    while (this.#lines.length < wanted) this.#addLine();
    while (this.#lines.length > wanted) this.#lines.pop()?.remove();
    for (let at = first; at < first + wanted; at++) {
      const index = isNarrow ? this.#found[n - 1 - at] : n - 1 - at;
      this.#fill(this.#lines[at % wanted], at, index);
    }
    const looking = isNarrow && this.#looked < tape.length ? `, looking on at ${Math.floor((100 * this.#looked) / tape.length)} %` : "";
    say(this.#count, isNarrow ? `${n.toLocaleString("en")} of ${count(tape.position, "event")}${looking}` : count(n, "event"));
    const below = n - first - visible;
    const parts = [first ? `${first.toLocaleString("en")} newer above` : "", below > 0 ? `${below.toLocaleString("en")} older below` : ""];
    say(this.#more, n > visible ? `and ${parts.filter(Boolean).join(", ")}` : n ? "" : tape.position ? "None of them matches." : "No events yet");
    this.#more.hidden = !this.#more.textContent;
  }

  #addLine() {
    const cells = ["ph-when", "ph-type", "ph-name", "ph-said"].map((name) => h("span", { class: name, role: "gridcell" }));
    const line = h("div", { class: "ph-event", role: "row" }, ...cells);
    this.#lines.push(line);
    this.#pad.append(line);
  }

  /** @param {HTMLElement} line @param {number} at @param {number} index */
  #fill(line, at, index) {
    const place = this.#tape?.placeAt(index) ?? -1;
    line.setAttribute("aria-selected", String(place === this.#deck.selected));
    if (line.dataset.index === String(index) && line.dataset.at === String(at)) return;
    const event = /** @type {Tape} */ (this.#tape).eventAt(index);
    const ends = { job_failed: "failed", job_completed: "completed", job_cancelled: "cancelled" };
    Object.assign(line.dataset, { index: String(index), at: String(at), seq: String(event.seq), type: event.type, state: ends[/** @type {keyof typeof ends} */ (event.type)] ?? "" });
    line.style.transform = `translateY(${at * LINE}px)`;
    line.setAttribute("aria-rowindex", String(at + 1));
    const [when, type, name, said] = /** @type {HTMLElement[]} */ ([...line.children]);
    const glyph = line.dataset.state ? GLYPHS[STATES.indexOf(/** @type {any} */ (line.dataset.state))] : event.type === "job_started" ? GLYPHS[1] : "·";
    say(when, clockUtc(event.at));
    say(type, `${glyph} ${event.type.replace(/^job_/, "")}`);
    say(name, event.job || event.batch || event.execution);
    say(said, saidBy(event));
    line.title = `event ${event.seq}, ${event.type}\n${[event.job, event.execution, event.batch].filter(Boolean).join("\n")}\n${saidBy(event)}`;
  }
}
