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
    /** What the kernel has of the marker. @type {number | null} */
    let known = model.get("at");
    /** Where the kernel wants the marker, as far as the recording goes that far; and where it was put for that. @type {number | null} */
    let wish = known;
    /** @type {number | null} */
    let placed = null;
    /** What the kernel has of the selection; and what it wants selected once that has come. */
    let chosen = JSON.stringify(model.get("selected") ?? null);
    /** @type {import("./piece.js").Pair | null} */
    let wanted = model.get("selected") ?? null;
    let timer = 0;
    const position = () => (deck.marker.isLive ? null : Math.round(deck.marker.at));
    const selected = () => (deck.selected >= 0 ? JSON.stringify(deck.whole.pairs[deck.selected]) : wanted ? chosen : "null");
    const tell = () => {
      if (timer) return;
      if (placed !== null && (deck.marker.isLive || deck.marker.at !== placed)) wish = placed = null; // moved here meanwhile
      if (deck.selected >= 0) wanted = null;
      const isMoved = wish === null && position() !== known;
      if (!isMoved && selected() === chosen) return;
      if (isMoved) model.set("at", (known = position()));
      if (selected() !== chosen) model.set("selected", JSON.parse((chosen = selected())));
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
      placed = null;
      if (at === null) deck.marker.goLive();
      deck.moved();
      settle();
    };
    /** As far as the recording goes by now. */
    const settle = () => {
      if (wanted) {
        const place = deck.whole.placeOf(wanted[0], /** @type {string} */ (wanted[1]));
        if (place >= 0) deck.select(place);
      }
      if (wish === null || !deck.tape.length) return;
      deck.marker.freeze(wish);
      placed = deck.marker.at;
      if (wish <= deck.tape.end) wish = placed = null;
      deck.moved();
    };
    const choose = () => {
      const pair = model.get("selected") ?? null;
      if (JSON.stringify(pair) === chosen) return;
      chosen = JSON.stringify(pair);
      wanted = pair;
      deck.select(-1);
      settle();
    };
    const close = this.channel.open(
      model,
      (page, pieces) => {
        if (deck.isOld(page.log)) return;
        this.#take(page.log, page.pieces, pieces);
        settle();
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
    const forget = keepInNotebook(model, () => ({ length: deck.whole.length, log: this.#log, status: this.channel.status, notice: this.channel.notice, time: this.channel.heard, pieces: this.#pieces.all() }));
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
