// The controls of a player and its track: what happened when, where something failed, where the marker is.
import { eachFrame, h, say, svg } from "./elements.js";
import { SPEEDS } from "./marker.js";
import { duration, moment } from "./words.js";

const PARTS = 240;
const WHOLE = 10_000; // steps of the slider
const MANY = 20_000; // changes; the profile of more is drawn twice a second at most

export class Track {
  #deck;
  #root;
  #profiled = -1;
  #profiledAt = 0;
  #play = h("button", { type: "button", class: "ph-button ph-play" });
  #live = h("button", { type: "button", class: "ph-button ph-live", title: "Follow what happens now; press again to stand still" }, h("span", { "aria-hidden": "true" }, "● "), "Live");
  #speed = h("select", { class: "ph-button", "aria-label": "Speed", title: "Speed" });
  #at = h("span", { class: "ph-at" });
  #offset = h("span", { class: "ph-offset" });
  #events = svg("path", { class: "ph-events" });
  #failures = svg("path", { class: "ph-failures" });
  #slider = h("input", { type: "range", role: "slider", class: "ph-slider", min: "0", max: String(WHOLE), step: "any", "aria-label": "Position in the recording" });
  #frame = eachFrame(() => this.#paint());

  /**
   * @param {HTMLElement} root
   * @param {import("./deck.js").Deck} deck
   */
  constructor(root, deck) {
    this.#root = root;
    this.#deck = deck;
    for (const speed of SPEEDS) this.#speed.append(h("option", { value: String(speed) }, `${speed}×`));
    const picture = svg("svg", { class: "ph-profile", viewBox: `0 0 ${PARTS} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.#events, this.#failures);
    root.append(
      h("div", { class: "ph-controls" }, this.#play, this.#live, this.#speed, this.#at, this.#offset),
      h("div", { class: "ph-track" }, picture, this.#slider),
    );
    for (const control of [this.#play, this.#live, this.#speed, this.#slider]) control.dataset.lmSuppressShortcuts = "true"; // JupyterLab takes keys
    this.#play.addEventListener("click", () => this.#toggle());
    this.#live.addEventListener("click", () => this.#do(() => (deck.marker.isLive ? deck.marker.freeze() : deck.marker.goLive())));
    this.#speed.addEventListener("change", () => this.#do(() => (deck.marker.speed = Number(this.#speed.value))));
    this.#slider.addEventListener("input", () => this.#seek(Number(this.#slider.value) / WHOLE));
    this.#slider.addEventListener("keydown", (event) => this.#key(event));
    this.#paint();
  }

  ask() {
    this.#frame.ask();
  }

  stop() {
    this.#frame.stop();
  }

  /** @param {() => void} change */
  #do(change) {
    change();
    this.#deck.moved();
  }

  #toggle() {
    const { marker } = this.#deck;
    this.#do(() => (marker.isPlaying ? marker.pause() : marker.play()));
  }

  /** @param {number} share of the track */
  #seek(share) {
    const { marker, tape } = this.#deck;
    this.#do(() => (share >= 1 ? marker.goLive() : marker.seek(tape.begin + share * (tape.end - tape.begin))));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const steps = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1 };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Home") this.#seek(0);
    else if (event.key === "End") this.#seek(1);
    else if (event.key === " ") this.#toggle();
    else if (step) this.#seek(Math.max(0, this.#deck.marker.share + step));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #paint() {
    const { marker, tape } = this.#deck;
    const data = this.#root.dataset;
    data.live = String(marker.isLive);
    data.playing = String(marker.isPlaying);
    data.at = tape.length ? new Date(marker.at / 1000).toISOString() : "";
    say(this.#play, marker.isPlaying ? "❚❚ Pause" : "▶ Play");
    this.#play.setAttribute("aria-label", marker.isPlaying ? "Pause" : "Play");
    this.#play.title = marker.isLive ? "Play from the beginning" : marker.isPlaying ? "Stand still here" : "Play on from here";
    this.#play.disabled = !tape.length;
    this.#live.setAttribute("aria-pressed", String(marker.isLive));
    this.#speed.value = String(marker.speed);
    const at = tape.length ? moment(marker.at) : "nothing recorded yet";
    const offset = tape.length ? `${duration((marker.at - tape.begin) / 1000)} of ${duration((tape.end - tape.begin) / 1000)}` : "";
    say(this.#at, at);
    say(this.#offset, offset);
    this.#slider.value = String(marker.share * WHOLE);
    this.#slider.style.setProperty("--ph-share", String(marker.share));
    this.#slider.setAttribute("aria-valuetext", marker.isLive ? `live, ${at}` : `${at}, ${offset}`);
    if (this.#profiled === tape.length) return;
    if (tape.length > MANY && performance.now() - this.#profiledAt < 500) setTimeout(() => this.ask(), 500);
    else {
      this.#profiled = tape.length;
      this.#profiledAt = performance.now();
      this.#profile();
    }
  }

  #profile() {
    const { events, failures } = this.#deck.tape.profile(PARTS);
    const most = Math.max(1, ...events);
    let bars = "";
    let marks = "";
    for (let part = 0; part < PARTS; part++) {
      const height = events[part] ? 2 + 18 * Math.sqrt(events[part] / most) : 0;
      if (height) bars += `M${part} 20v-${height.toFixed(1)}h1v${height.toFixed(1)}z`;
      if (failures[part]) marks += `M${part} 20v-20h1v20z`;
    }
    this.#events.setAttribute("d", bars);
    this.#failures.setAttribute("d", marks);
  }
}
