// The controls of a player and its track: what happened when, where something failed, where batches begin, where the marker is.
import { button, choice, eachFrame, h, keyed, say, svg } from "./elements.js";
import { SPEEDS } from "./marker.js";
import { count, duration, failureHeights, moment } from "./words.js";

const PARTS = 240;
const WHOLE = 10_000; // steps of the slider
const MANY = 20_000; // events; the profile of more is drawn twice a second at most
const MARKS = 100; // boundaries that are drawn
const KEYS = "Keys: space plays, arrows move by a hundredth, comma and full stop by an event, n and p to the next and the previous failure, [ and ] change the speed, s skips idle stretches, l is live.";

export class Track {
  #deck;
  #root;
  #profiled = { tape: /** @type {unknown} */ (null), length: -1, at: 0 };
  #play = button("", "Play", () => this.#toggle());
  #back = button("‹", "one event back (comma)", () => this.#do((marker) => marker.step(-1)));
  #forth = button("›", "one event on (full stop)", () => this.#do((marker) => marker.step(1)));
  #failure = button("✕ ›", "to the next failure (n)", () => this.#toFailure(1));
  #live = button("", "Live", () => this.#do((marker) => (marker.isLive ? marker.freeze() : marker.goLive())));
  #speed = choice("Speed", SPEEDS.map((speed) => [String(speed), `${speed}×`]), (speed) => this.#do((marker) => (marker.speed = Number(speed))));
  #idle = button("skip idle", "skip stretches where nothing happens (s)", () => this.#do((marker) => (marker.skipsIdle = !marker.skipsIdle)));
  #at = h("span", { class: "ph-at" });
  #offset = h("span", { class: "ph-offset" });
  #events = svg("path", { class: "ph-events" });
  #failures = svg("path", { class: "ph-failures" });
  #boundaries = svg("path", { class: "ph-boundaries" });
  #slider = keyed(h("input", { type: "range", role: "slider", class: "ph-slider", min: "0", max: String(WHOLE), step: "any", "aria-label": "Position in the recording", title: KEYS }));
  #frame = eachFrame(() => this.#paint());

  #moment;

  /**
   * @param {HTMLElement} root
   * @param {import("./deck.js").Deck} deck
   * @param {(us: number) => string} [told] how a moment is told
   */
  constructor(root, deck, told = moment) {
    this.#moment = told;
    this.#root = root;
    this.#deck = deck;
    this.#play.classList.add("ph-play");
    this.#live.classList.add("ph-live");
    this.#live.title = "Follow what happens now (l); press again to stand still";
    this.#live.append(h("span", { "aria-hidden": "true" }, "● "), "Live");
    this.#speed.title = "Speed ([ and ])";
    const picture = svg("svg", { class: "ph-profile", viewBox: `0 0 ${PARTS} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.#events, this.#failures, this.#boundaries);
    root.append(
      h("div", { class: "ph-controls" }, this.#play, this.#back, this.#forth, this.#failure, this.#live, this.#speed, this.#idle, this.#at, this.#offset),
      h("div", { class: "ph-track" }, picture, this.#slider),
    );
    this.#slider.addEventListener("input", () => this.#seek(Number(this.#slider.value) / WHOLE));
    this.#slider.addEventListener("keydown", (event) => this.#keyOfSlider(event));
    root.addEventListener("keydown", (event) => this.#key(event));
    this.#paint();
  }

  ask() {
    this.#frame.ask();
  }

  stop() {
    this.#frame.stop();
  }

  /** @param {(marker: import("./marker.js").Marker) => void} change */
  #do(change) {
    change(this.#deck.marker);
    this.#deck.moved();
  }

  #toggle() {
    this.#do((marker) => (marker.isPlaying ? marker.pause() : marker.play()));
  }

  /** @param {1 | -1} by */
  #toFailure(by) {
    this.#do((marker) => marker.toFailure(by));
  }

  /** @param {number} share of the track */
  #seek(share) {
    const { begin, end } = this.#deck.tape;
    this.#do((marker) => (share >= 1 ? marker.goLive() : marker.seek(begin + share * (end - begin))));
  }

  /** @param {KeyboardEvent} event */
  #keyOfSlider(event) {
    const steps = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1 };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Home") this.#seek(0);
    else if (event.key === "End") this.#seek(1);
    else if (step) this.#seek(Math.max(0, this.#deck.marker.share + step));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Keys that hold anywhere in the widget but where text is written. @param {KeyboardEvent} event */
  #key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select, input:not([type=range])")) return;
    if (event.key === " " && !target.matches("button")) this.#toggle();
    else if (event.key === ",") this.#do((marker) => marker.step(-1));
    else if (event.key === ".") this.#do((marker) => marker.step(1));
    else if (event.key === "n") this.#toFailure(1);
    else if (event.key === "p") this.#toFailure(-1);
    else if (event.key === "l") this.#do((marker) => marker.goLive());
    else if (event.key === "s") this.#idle.click();
    else if (event.key === "[" || event.key === "]") this.#faster(event.key === "]" ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} by */
  #faster(by) {
    const at = SPEEDS.indexOf(this.#deck.marker.speed) + by;
    if (SPEEDS[at]) this.#do((marker) => (marker.speed = SPEEDS[at]));
  }

  #paint() {
    const { marker, tape } = this.#deck;
    const data = this.#root.dataset;
    data.live = String(marker.isLive);
    data.playing = String(marker.isPlaying);
    data.at = tape.length ? new Date(marker.at / 1000).toISOString() : "";
    data.position = String(tape.position);
    say(this.#play, marker.isPlaying ? "❚❚ Pause" : "▶ Play");
    this.#play.setAttribute("aria-label", marker.isPlaying ? "Pause" : "Play");
    this.#play.title = marker.isLive ? "Play from the beginning" : marker.isPlaying ? "Stand still here" : "Play on from here";
    for (const one of [this.#play, this.#back, this.#forth]) one.disabled = !tape.length;
    this.#failure.disabled = !tape.failures.length;
    this.#live.setAttribute("aria-pressed", String(marker.isLive));
    this.#idle.setAttribute("aria-pressed", String(marker.skipsIdle));
    this.#speed.value = String(marker.speed);
    const at = tape.length ? this.#moment(marker.at) : "nothing recorded yet";
    const offset = tape.length ? `${duration((marker.at - tape.begin) / 1000)} of ${duration((tape.end - tape.begin) / 1000)}` : "";
    say(this.#at, at);
    say(this.#offset, offset);
    this.#offset.title = `${tape.position.toLocaleString("en")} of ${count(tape.length, "event")}`;
    this.#slider.value = String(marker.share * WHOLE);
    this.#slider.style.setProperty("--ph-share", String(marker.share));
    this.#slider.setAttribute("aria-valuetext", marker.isLive ? `live, ${at}` : `${at}, ${offset}`);
    this.#profile(tape);
  }

  /** @param {import("./tape.js").Tape} tape */
  #profile(tape) {
    const done = this.#profiled;
    if (done.tape === tape && done.length === tape.length) return;
    if (done.tape === tape && tape.length > MANY && performance.now() - done.at < 500) {
      setTimeout(() => this.ask(), 500);
      return;
    }
    this.#profiled = { tape, length: tape.length, at: performance.now() };
    const { events, failures } = tape.profile(PARTS);
    const failed = failureHeights(failures);
    const most = Math.max(1, ...events);
    let bars = "";
    let marks = "";
    for (let part = 0; part < PARTS; part++) {
      const height = events[part] ? 2 + 18 * Math.sqrt(events[part] / most) : 0;
      if (height) bars += `M${part} 20v-${height.toFixed(1)}h1v${height.toFixed(1)}z`;
      if (failed[part]) marks += `M${part} 20v-${(20 * failed[part]).toFixed(1)}h1v${(20 * failed[part]).toFixed(1)}z`;
    }
    const scale = PARTS / Math.max(1, tape.end - tape.begin);
    const every = Math.ceil(tape.boundaries.length / MARKS);
    const edges = tape.boundaries.filter((_, which) => which % every === 0).map((index) => `M${((tape.whenOf(index) - tape.begin) * scale).toFixed(1)} 0v4h0.5v-4z`);
    this.#events.setAttribute("d", bars);
    this.#failures.setAttribute("d", marks);
    this.#boundaries.setAttribute("d", edges.join(""));
  }
}
