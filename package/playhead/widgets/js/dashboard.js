// `Dashboard` in the page: one marker over everything: tiles, timeline, grid and feed of a batch or of all.
import { choice, h, say } from "./elements.js";
import { Reel } from "./reel.js";
import { feedOf, ganttOf, gridOf, stage } from "./stage.js";
import { Track } from "./track.js";
import { GLYPHS, SHOWN, STATES, duration } from "./words.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

const RATE_US = 10e6; // over which events per second are told
const NAMES = { executions: "executions", share: "ended", rate: "events/s", median: "median" };

/** The figures at the marker. */
class Tiles {
  #values = new Map();
  #timed = { tape: /** @type {unknown} */ (null), version: -1, at: 0, text: "" };
  #deck;

  /** @param {HTMLElement} root @param {import("./deck.js").Deck} deck */
  constructor(root, deck) {
    this.#deck = deck;
    const tile = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ glyph) => {
      const value = h("span", { class: "ph-value" });
      this.#values.set(name, value);
      return h("div", { class: "ph-tile", "data-tile": name, "data-state": STATES.includes(/** @type {any} */ (name)) ? name : "" }, h("span", { class: "ph-soft" }, `${glyph} ${label}`.trim()), value);
    };
    root.append(h("div", { class: "ph-tiles" }, ...SHOWN.map((state) => tile(STATES[state], STATES[state], GLYPHS[state])), ...Object.entries(NAMES).map(([name, label]) => tile(name, label, ""))));
  }

  ask() {
    const { tape, marker } = this.#deck;
    STATES.forEach((name, state) => say(this.#values.get(name), tape.counts[state].toLocaleString("en")));
    const over = tape.counts[2] + tape.counts[3] + tape.counts[4];
    const now = marker.isLive ? Math.max(marker.at, Date.now() * 1000) : marker.at;
    const recent = tape.position - tape.countAt(now - RATE_US);
    say(this.#values.get("executions"), tape.size.toLocaleString("en"));
    say(this.#values.get("share"), tape.size ? `${Math.floor((100 * over) / tape.size)} %` : "–");
    say(this.#values.get("rate"), (Math.max(0, recent) / (RATE_US / 1e6)).toLocaleString("en", { maximumFractionDigits: 1 }));
    say(this.#values.get("median"), this.#median());
  }

  /** Of the executions that had ended; of many it is worked out twice a second at most. */
  #median() {
    const { tape } = this.#deck;
    const now = performance.now();
    if (tape !== this.#timed.tape || (tape.version !== this.#timed.version && (tape.size < 2000 || now - this.#timed.at > 500))) {
      const durations = Float64Array.from(tape.durations()).sort();
      const text = durations.length ? duration(durations[durations.length >> 1]) : "–";
      this.#timed = { tape, version: tape.version, at: now, text };
    }
    return this.#timed.text;
  }

  stop() {}
}

/** The batches there are, newest first; picking one needs no kernel. */
class Picker {
  #select;
  #known = -1;
  #deck;

  /** @param {HTMLElement} root @param {import("./deck.js").Deck} deck */
  constructor(root, deck) {
    this.#deck = deck;
    this.#select = choice("Batch", [["", "all batches"]], (batch) => deck.pick(batch));
    root.append(h("label", { class: "ph-picker" }, "batch ", this.#select));
  }

  ask() {
    const { batches } = this.#deck.whole;
    if (batches.size !== this.#known) {
      this.#known = batches.size;
      const names = [...batches.keys()].reverse();
      this.#select.replaceChildren(h("option", { value: "" }, `all batches (${batches.size.toLocaleString("en")})`), ...names.map((name) => h("option", { value: name }, name)));
    }
    this.#select.value = this.#deck.batch;
  }

  stop() {}
}

export default () => {
  const reel = new Reel();
  return {
    /** @param {Context} context */
    initialize: ({ model }) => reel.open(model),
    render: kept(({ model, el }) => {
      const { deck } = reel;
      const batch = model.get("batch_id");
      /** @type {import("./grid.js").GridView} */
      let grid;
      /** @type {import("./feed.js").FeedView} */
      let feed;
      const { leave, root } = stage(el, reel, "dashboard", batch ?? "All batches", (root) => {
        const picker = batch === null ? [new Picker(root, deck)] : [];
        const track = new Track(root, deck);
        const tiles = new Tiles(root, deck);
        const part = (/** @type {string} */ name) => root.appendChild(h("section", { class: "ph-part", "aria-label": name }));
        const gantt = ganttOf(part("Timeline"), deck, 120);
        grid = gridOf(part("Executions"), deck, model.get("max_display"), "Nothing had happened yet");
        feed = feedOf(part("Events"), deck, model.get("max_display"));
        return [...picker, track, tiles, gantt, grid, feed];
      });
      root.classList.add("ph-dashboard");
      const resize = () => {
        grid.show(model.get("max_display"));
        feed.show(model.get("max_display"));
      };
      model.on("change:max_display", resize);
      const over = () => {
        leave();
        model.off("change:max_display", resize);
      };
      return { root, leave: over };
    }),
  };
};
