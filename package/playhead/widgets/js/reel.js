// What a widget over a recording is before it is drawn: the recording comes in, the marker and the selection go out, once for
// a model, however many views it has.
import { Channel } from "./channel.js";
import { Deck } from "./deck.js";
import { bytesOf, pieceOf } from "./piece.js";
import { keepInNotebook } from "./saving.js";

const TELL_MS = 250; // between two positions told to the kernel

/** @typedef {import("./channel.js").Model} Model */

/** Pieces as they came, to be saved: those that are kept for good, and what came since. */
class Pieces {
  /** @type {{first: number, end: number, bytes: DataView}[]} */
  #held = [];

  /** @param {number} first @param {number} end @param {DataView} bytes */
  keep(first, end, bytes) {
    this.#held = this.#held.filter((one) => one.end <= first || one.first >= end);
    this.#held.push({ first, end, bytes: new DataView(bytesOf(bytes).slice().buffer) });
  }

  /** How many lie in a range. @param {number} first @param {number} end */
  within(first, end) {
    return this.#held.filter((one) => one.first >= first && one.end <= end).length;
  }

  clear() {
    this.#held = [];
  }

  all() {
    return this.#held.sort((one, other) => one.first - other.first).map((one) => one.bytes);
  }
}

export class Reel {
  deck = new Deck();
  channel = new Channel();
  #pieces = new Pieces();
  #log = -1;

  /** @param {Model} model @returns {() => void} the way out */
  open(model) {
    const { deck } = this;
    /** What the kernel has. @type {number | null} */
    let known = model.get("at");
    /** Where the kernel wants the marker once the recording is that long. @type {number | null} */
    let wish = known;
    let chosen = JSON.stringify(model.get("selected") ?? null);
    let timer = 0;
    const position = () => (deck.marker.isLive ? null : Math.round(deck.marker.at));
    const selected = () => JSON.stringify(deck.selected < 0 ? null : deck.whole.pairs[deck.selected]);
    const tell = () => {
      if (timer) return;
      if (!deck.marker.isLive) wish = null; // moved here meanwhile
      const isMoved = wish === null && position() !== known;
      if (!isMoved && selected() === chosen) return;
      if (isMoved) model.set("at", (known = position()));
      chosen = selected();
      model.set("selected", JSON.parse(chosen));
      model.save_changes();
      timer = setTimeout(() => {
        timer = 0;
        tell();
      }, TELL_MS);
    };
    const obey = () => {
      const at = model.get("at");
      if (at === known) return;
      known = wish = at;
      if (at === null) deck.marker.goLive();
      this.deck.moved();
      settle();
    };
    const settle = () => {
      if (wish !== null && deck.whole.length && wish <= deck.whole.end) {
        deck.marker.freeze(wish);
        wish = null;
        deck.moved();
      }
    };
    const choose = () => {
      const pair = model.get("selected") ?? null;
      if (JSON.stringify(pair) === chosen) return;
      chosen = JSON.stringify(pair);
      deck.select(pair ? deck.whole.placeOf(pair[0], pair[1]) : -1);
    };
    const close = this.channel.open(
      model,
      (page, pieces) => {
        if (deck.isOld(page.log)) return;
        this.#take(page.log, page.pieces, pieces);
        settle();
        chosen = "";
        choose();
      },
      (message, pieces, raw) => {
        if (message.kind === "rows" && !deck.isOld(message.log)) {
          const isWhole = this.#take(message.log, raw, pieces);
          settle();
          return isWhole;
        }
        return deck.isAt(message.log, message.length);
      },
      () => ({ log: this.#log, length: deck.whole.length }),
    );
    const leave = deck.changed.listen(tell);
    const forget = keepInNotebook(model, () => ({ ...model.get("page"), log: this.#log, status: this.channel.status, notice: this.channel.notice, time: this.channel.heard, pieces: this.#pieces.all() }));
    model.on("change:at", obey);
    model.on("change:selected", choose);
    return () => {
      close();
      leave();
      forget();
      deck.stop();
      clearTimeout(timer);
      model.off("change:at", obey);
      model.off("change:selected", choose);
    };
  }

  /** @param {number} log @param {DataView[]} raw @param {Uint8Array[]} pieces @returns {boolean} false when something before them is missing */
  #take(log, raw, pieces) {
    if (log !== this.#log) this.#pieces.clear();
    this.#log = log;
    this.deck.useLog(log);
    const isWhole = pieces.every((bytes, which) => {
      const piece = pieceOf(bytes);
      const end = piece.first + piece.n;
      if (end <= this.deck.whole.length && this.#pieces.within(piece.first, end) < 2) return true;
      if (!this.deck.whole.append(piece)) return false;
      this.#pieces.keep(piece.first, end, raw[which]);
      return true;
    });
    this.deck.moved();
    return isWhole;
  }
}
