// A timeline: each attempt a bar from its start to its end, as it was at the marker; above them how much happened when. Zoom
// by buttons, keys and Ctrl with the wheel, pan by dragging and keys; a click selects, a click on the strip moves the marker.
import { Announcer, button, eachFrame, h, keyed, say } from "./elements.js";
import { Lanes } from "./lanes.js";
import { GLYPHS, STATES, clockUtc, count, duration, failureHeights } from "./words.js";

const STRIP = 30;
const AXIS = 20;
const TALL = 16; // of a lane where there is room
const LOW = 3;
const SLOW_MS = 400; // between two profiles of many events
const COLOURS = { queued: "--ph-soft", running: "--ph-busy", completed: "--ph-good", failed: "--ph-bad", cancelled: "--ph-soft" };
const STEPS_S = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 604800];

/** @typedef {{x: number, width: number, y: number, attempt: number}} Bar */

export class GanttView {
  #canvas = keyed(h("canvas", { class: "ph-gantt", tabindex: "0", role: "img" }));
  #words = h("span", { class: "ph-total" });
  #tools = h("div", { class: "ph-tools" },
    button("−", "zoom out", () => this.#zoom(1 / 2)), button("+", "zoom in", () => this.#zoom(2)), button("all", "show all of it", () => this.#fit()),
    h("span", { class: "ph-soft" }, "drag to pan, Ctrl and wheel to zoom"), this.#words); // prettier-ignore
  #tip = h("div", { class: "ph-tip", hidden: "" });
  #frame = eachFrame(() => this.#paint());
  #announcer = new Announcer();
  #lanes = new Lanes();
  #palette = new Palette();
  /** What is seen, in microseconds; null while it is all. @type {{from: number, to: number} | null} */
  #window = null;
  #scroll = 0;
  /** @type {unknown} */
  #tape = null;
  #height = 0;
  /** @type {Bar[]} */
  #bars = [];
  #profile = { key: "", at: 0, events: new Float64Array(0), failures: new Float64Array(0) };
  #observer = new ResizeObserver(() => this.ask());
  #deck;

  /** @param {HTMLElement} root @param {import("./deck.js").Deck} deck @param {number} height of the lanes, in pixels */
  constructor(root, deck, height) {
    this.#deck = deck;
    this.#height = height;
    root.append(this.#tools, h("div", { class: "ph-gantt-frame" }, this.#canvas, this.#tip), this.#announcer.element);
    this.#canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.#canvas.addEventListener("pointermove", (event) => this.#hover(event));
    this.#canvas.addEventListener("pointerleave", () => (this.#tip.hidden = true));
    this.#observer.observe(this.#canvas);
    this.#paint();
  }

  ask() {
    this.#frame.ask();
  }

  stop() {
    this.#frame.stop();
    this.#announcer.stop();
    this.#observer.disconnect();
  }

  /** @param {number} height */
  show(height) {
    this.#height = height;
    this.ask();
  }

  get #span() {
    const { tape } = this.#deck;
    return this.#window ?? { from: tape.begin, to: Math.max(tape.end, tape.begin + 1000) };
  }

  #fit() {
    this.#window = null;
    this.#scroll = 0;
    this.ask();
  }

  /** @param {number} by @param {number} [around] share of what is seen */
  #zoom(by, around) {
    const { tape, marker } = this.#deck;
    const { from, to } = this.#span;
    const share = around ?? Math.max(0, Math.min(1, (marker.at - from) / (to - from)));
    const length = Math.max(1000, Math.min(tape.end - tape.begin, (to - from) / by));
    this.#look(from + (to - from) * share - length * share, length);
  }

  /** @param {number} from @param {number} length */
  #look(from, length) {
    const { tape } = this.#deck;
    if (length >= tape.end - tape.begin) return this.#fit();
    const begin = Math.max(tape.begin, Math.min(tape.end - length, from));
    this.#window = { from: begin, to: begin + length };
    this.ask();
  }

  /** @param {number} share of what is seen */
  #pan(share) {
    const { from, to } = this.#span;
    this.#look(from + (to - from) * share, to - from);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const deck = this.#deck;
    if (event.key === "+" || event.key === "=") this.#zoom(2);
    else if (event.key === "-") this.#zoom(1 / 2);
    else if (event.key === "0") this.#fit();
    else if (event.key === "ArrowLeft") this.#pan(-0.2);
    else if (event.key === "ArrowRight") this.#pan(0.2);
    else if (event.key === "ArrowDown") this.#next(1);
    else if (event.key === "ArrowUp") this.#next(-1);
    else if (event.key === "Escape" && deck.selected >= 0) deck.select(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Select the next execution, in order of their beginning. @param {number} by */
  #next(by) {
    const { tape, selected } = this.#deck;
    let at = selected < 0 ? (by > 0 ? -1 : tape.attempts.length) : tape.attempts.findIndex((one) => one.place === selected);
    at += by;
    const attempt = tape.attempts[at];
    if (!attempt || attempt.first >= tape.position) return;
    this.#deck.select(attempt.place);
    this.#announcer.say(this.#tell(at));
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    if (event.ctrlKey || event.metaKey) this.#zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX / this.#canvas.clientWidth);
    else if (this.#laneHeight() * this.#lanes.count > this.#height && event.offsetY > STRIP) {
      const most = this.#laneHeight() * this.#lanes.count - this.#height;
      const to = Math.max(0, Math.min(most, this.#scroll + event.deltaY));
      if (to === this.#scroll) return; // at its end the notebook scrolls on
      this.#scroll = to;
      this.ask();
    } else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button !== 0) return;
    const { from, to } = this.#span;
    const begun = event.clientX;
    const isOnStrip = event.offsetY < STRIP;
    let isDragged = false;
    this.#canvas.setPointerCapture(event.pointerId);
    const seek = (/** @type {PointerEvent} */ moved) => {
      this.#deck.marker.seek(from + ((to - from) * moved.offsetX) / this.#canvas.clientWidth);
      this.#deck.moved();
    };
    const move = (/** @type {PointerEvent} */ moved) => {
      isDragged ||= Math.abs(moved.clientX - begun) > 3;
      if (isOnStrip) seek(moved);
      else if (isDragged && this.#window) this.#look(from - ((moved.clientX - begun) / this.#canvas.clientWidth) * (to - from), to - from);
    };
    const held = new AbortController();
    const up = (/** @type {PointerEvent} */ moved) => {
      held.abort();
      if (isOnStrip) seek(moved);
      else if (!isDragged) this.#select(moved);
    };
    const { signal } = held;
    this.#canvas.addEventListener("pointermove", move, { signal });
    this.#canvas.addEventListener("pointerup", up, { signal });
    this.#canvas.addEventListener("pointercancel", () => held.abort(), { signal });
  }

  /** @param {PointerEvent} event @returns {Bar | undefined} */
  #barAt({ offsetX: x, offsetY: y }) {
    const tall = this.#laneHeight();
    return this.#bars.findLast((bar) => x >= bar.x - 2 && x <= bar.x + bar.width + 2 && y >= bar.y && y < bar.y + tall);
  }

  /** @param {PointerEvent} event */
  #select(event) {
    const bar = this.#barAt(event);
    const place = bar ? this.#deck.tape.attempts[bar.attempt].place : -1;
    this.#deck.select(place === this.#deck.selected ? -1 : place);
  }

  /** @param {number} which @returns {string} */
  #tell(which) {
    const { tape, marker } = this.#deck;
    const attempt = tape.attempts[which];
    const { from, to, state } = tape.spanOf(attempt);
    const again = attempt.number > 1 ? `, attempt ${attempt.number}` : "";
    return `${tape.pairs[attempt.place][1]}${again}: ${STATES[state]}, ${duration(((to ?? marker.at) - from) / 1000)} from ${clockUtc(from)}`;
  }

  /** @param {PointerEvent} event */
  #hover(event) {
    const bar = event.buttons ? undefined : this.#barAt(event);
    this.#tip.hidden = !bar;
    if (!bar) return;
    say(this.#tip, this.#tell(bar.attempt));
    this.#tip.style.left = `${Math.max(0, Math.min(event.offsetX + 12, this.#canvas.clientWidth - this.#tip.offsetWidth - 4))}px`;
    this.#tip.style.top = `${event.offsetY + 14}px`;
  }

  #laneHeight() {
    return Math.max(LOW, Math.min(TALL, Math.floor(this.#height / Math.max(1, this.#lanes.count))));
  }

  #paint() {
    const { tape, marker, selected } = this.#deck;
    if (tape !== this.#tape) {
      this.#tape = tape;
      this.#window = null;
      this.#scroll = 0;
      this.#profile.key = "";
    }
    this.#lanes.extend(tape);
    const tall = this.#laneHeight();
    this.#scroll = Math.max(0, Math.min(this.#scroll, tall * this.#lanes.count - this.#height));
    const lanes = Math.min(this.#height, Math.max(1, this.#lanes.count) * tall);
    const [width, height] = [this.#canvas.clientWidth, STRIP + lanes + AXIS];
    this.#canvas.style.height = `${height}px`;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const draw = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    const palette = this.#palette.of(this.#canvas);
    const colour = Object.fromEntries(Object.entries(COLOURS).map(([state, name]) => [state, palette[name]]));
    const { "--ph-text": text, "--ph-soft": soft, "--ph-busy": busy, "--ph-line": line } = palette;
    const { from, to } = this.#span;
    const scale = width / (to - from);
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw.clearRect(0, 0, width, height);
    draw.font = `11px ${getComputedStyle(this.#canvas).fontFamily}`;
    draw.textBaseline = "middle";
    this.#paintAxis(draw, { from, to, scale, width, height, soft, line });
    this.#paintStrip(draw, { from, to, width, soft, bad: colour.failed });
    this.#bars = [];
    let isOver = false;
    draw.save();
    draw.beginPath();
    draw.rect(0, STRIP, width, lanes);
    draw.clip();
    for (let which = 0; which < tape.attempts.length; which++) {
      const attempt = tape.attempts[which];
      if (attempt.first >= tape.position) break;
      const y = STRIP + this.#lanes.of[which] * tall - this.#scroll;
      if (y + tall < STRIP || y > STRIP + lanes) continue;
      const span = tape.spanOf(attempt);
      const end = span.to ?? Math.max(span.from, marker.at);
      if (end < from || span.from > to) continue;
      const x = (span.from - from) * scale;
      const bar = { x, width: Math.max(2, (end - span.from) * scale), y, attempt: which };
      this.#bars.push(bar);
      isOver ||= attempt.place === selected;
      this.#paintBar(draw, bar, tall, STATES[span.state], colour, tape.pairs[attempt.place][1] ?? "", GLYPHS[span.state], text, attempt.place === selected);
    }
    draw.restore();
    const x = Math.min(width - 1, (marker.at - from) * scale);
    if (tape.length && x >= 0) {
      draw.fillStyle = busy;
      draw.fillRect(x - 1, 0, 2, STRIP + lanes);
    }
    const failed = tape.counts[3] ? `, ${tape.counts[3].toLocaleString("en")} failed` : "";
    const lanesSaid = this.#lanes.count > 1 ? `, at most ${this.#lanes.count.toLocaleString("en")} at once` : "";
    const said = tape.length ? `${count(tape.size, "execution")}${failed}${lanesSaid}` : "nothing recorded yet";
    say(this.#words, said);
    this.#canvas.setAttribute("aria-label", `Timeline: ${said}. Arrow keys up and down select an execution, left and right pan, plus and minus zoom.`);
    this.#canvas.dataset.bars = String(this.#bars.length);
    this.#canvas.dataset.from = String(from);
    this.#canvas.dataset.to = String(to);
  }

  /**
   * @param {CanvasRenderingContext2D} draw @param {Bar} bar @param {number} tall @param {string} state @param {Record<string, string>} colour
   * @param {string} job @param {string} glyph @param {string} text @param {boolean} isSelected
   */
  #paintBar(draw, bar, tall, state, colour, job, glyph, text, isSelected) {
    const gap = tall > 6 ? 2 : tall > 3 ? 1 : 0;
    const [y, height] = [bar.y + gap / 2, tall - gap];
    draw.fillStyle = colour[state];
    draw.globalAlpha = state === "completed" || state === "cancelled" ? 0.35 : state === "queued" ? 0.2 : 0.55;
    draw.fillRect(bar.x, y, bar.width, height);
    draw.globalAlpha = 1;
    draw.fillRect(bar.x, y, state === "failed" ? 3 : 1, height);
    if (state === "failed") draw.fillRect(bar.x, y + height - 2, bar.width, 2); // told by shape too
    if (isSelected) {
      draw.strokeStyle = text;
      draw.lineWidth = 2;
      draw.strokeRect(bar.x + 1, y + 1, Math.max(2, bar.width - 2), Math.max(1, height - 2));
    }
    if (height < 12 || bar.width < 40) return;
    draw.fillStyle = text;
    const label = `${glyph} ${job}`;
    const room = Math.floor((bar.width - 8) / 6);
    draw.fillText(label.length > room ? `${label.slice(0, Math.max(1, room - 1))}…` : label, Math.max(bar.x, 0) + 5, y + height / 2 + 0.5);
  }

  /** @param {CanvasRenderingContext2D} draw @param {{from: number, to: number, width: number, soft: string, bad: string}} how */
  #paintStrip(draw, { from, to, width, soft, bad }) {
    const { tape } = this.#deck;
    const n = Math.max(1, Math.floor(width / 3));
    const key = `${from} ${to} ${n} ${tape.length}`;
    const now = performance.now();
    if (this.#profile.key !== key && (tape.length < 20_000 || now - this.#profile.at > SLOW_MS || this.#profile.events.length !== n)) {
      this.#profile = { key, at: now, ...tape.profile(n, from, to) };
    } else if (this.#profile.key !== key) setTimeout(() => this.ask(), SLOW_MS);
    const { events, failures } = this.#profile;
    const failed = failureHeights(failures);
    let most = 1;
    for (const value of events) most = Math.max(most, value);
    for (let part = 0; part < n; part++) {
      if (!events[part]) continue;
      const high = 2 + (STRIP - 8) * Math.sqrt(events[part] / most);
      draw.globalAlpha = 0.45;
      draw.fillStyle = soft;
      draw.fillRect(part * 3, STRIP - 4 - high, 2.4, high);
      if (!failed[part]) continue;
      draw.globalAlpha = 1;
      draw.fillStyle = bad;
      draw.fillRect(part * 3, STRIP - 4 - (STRIP - 6) * failed[part], 2.4, (STRIP - 6) * failed[part]);
    }
    draw.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} draw @param {{from: number, to: number, scale: number, width: number, height: number, soft: string, line: string}} how */
  #paintAxis(draw, { from, to, scale, width, height, soft, line }) {
    const least = (to - from) / 1e6 / Math.max(1, width / 110);
    const step = (STEPS_S.find((one) => one >= least) ?? Math.ceil(least / 604800) * 604800) * 1e6;
    draw.textAlign = "center";
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const x = (at - from) * scale;
      draw.fillStyle = line;
      draw.fillRect(x, STRIP, 1, height - STRIP - AXIS);
      draw.fillStyle = soft;
      const iso = new Date(at / 1000).toISOString();
      const label = step >= 86400e6 ? iso.slice(5, 10) : step >= 1e6 ? iso.slice(11, 19) : iso.slice(11, 23);
      if (x > 26 && x < width - 26) draw.fillText(label, x, height - AXIS / 2);
    }
    draw.textAlign = "left";
  }
}

/** Colours of the theme as a canvas takes them: light-dark() and color-mix() are worked out on an element. */
class Palette {
  /** @type {Record<string, string>} */
  #found = {};
  #at = -Infinity;

  /** @param {HTMLElement} element @returns {Record<string, string>} by name of the variable */
  of(element) {
    if (performance.now() - this.#at < 500) return this.#found;
    this.#at = performance.now();
    const probe = h("i", { hidden: "" });
    element.after(probe);
    for (const name of ["--ph-text", "--ph-soft", "--ph-busy", "--ph-good", "--ph-bad", "--ph-line"]) {
      probe.style.color = `var(${name})`;
      this.#found[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    return this.#found;
  }
}
