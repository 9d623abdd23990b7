// A recording in the browser: every change of every row in columns, and the rows as they were after any number of them. Pure.
import { FAILED } from "./words.js";

const KEY = 4096; // changes between keyframes: 0.2 ms at most to any position
/** In the order of the wire; times are microseconds since 1970, which a float64 holds exactly. */
const COLUMNS = /** @type {const} */ ({
  at: Float64Array, place: Uint32Array, state: Uint8Array, attempt: Uint32Array, progress: Float32Array,
  duration: Float64Array, job: Uint32Array, step: Uint32Array, url: Uint32Array, error: Uint32Array,
}); // prettier-ignore

/** @typedef {{first: number, firstText: number, texts: string[]}} Piece what a piece of the recording says of itself */

/** @implements {Rows} */
export class Tape {
  /** Changes held. */
  length = 0;
  /** Changes applied: the rows are as they were after that many. */
  position = 0;
  /** When a row failed. @type {number[]} */
  failures = [];
  size = 0;
  orderVersion = 0;
  counts = [0, 0, 0, 0, 0];
  #columns = {
    at: new Float64Array(1024), place: new Uint32Array(1024), state: new Uint8Array(1024), attempt: new Uint32Array(1024),
    progress: new Float32Array(1024), duration: new Float64Array(1024), job: new Uint32Array(1024), step: new Uint32Array(1024),
    url: new Uint32Array(1024), error: new Uint32Array(1024),
  }; // prettier-ignore
  /** Index 0 is "nothing". @type {string[]} */
  #texts = [""];
  /** For each place the change that made its row: at the position, and at the end. */
  #rows = new Int32Array(64);
  #last = new Int32Array(64);
  #places = 0;
  /** `#last` before every KEY-th change. @type {Int32Array[]} */
  #keys = [];

  get begin() {
    return this.length ? this.#columns.at[0] : 0;
  }

  get end() {
    return this.length ? this.#columns.at[this.length - 1] : 0;
  }

  /**
   * Take a piece; what is known of it is skipped.
   * @param {Piece} piece
   * @param {ArrayBuffer[]} buffers the columns
   * @returns {boolean} false when a piece before it is missing
   */
  append(piece, buffers) {
    if (piece.first > this.length || piece.firstText > this.#texts.length) return false;
    piece.texts.forEach((text, place) => (this.#texts[piece.firstText + place] = text));
    const names = /** @type {(keyof typeof COLUMNS)[]} */ (Object.keys(COLUMNS));
    const fresh = names.map((name, place) => new COLUMNS[name](buffers[place]));
    const n = fresh[0].length;
    const skip = this.length - piece.first;
    if (skip >= n) return true;
    this.#grow(piece.first + n);
    names.forEach((name, place) => this.#columns[name].set(fresh[place].subarray(skip), this.length));
    const { place, state, at } = this.#columns;
    for (let index = this.length; index < piece.first + n; index++) {
      if (index % KEY === 0) this.#keys.push(this.#last.slice(0, this.#places));
      const where = place[index];
      if (where >= this.#places) this.#addPlace(where);
      const before = this.#last[where];
      if (state[index] === FAILED && (before < 0 || state[before] !== FAILED)) this.failures.push(at[index]);
      this.#last[where] = index;
    }
    this.length = piece.first + n;
    return true;
  }

  /** How many changes had happened at a time. @param {number} us */
  countAt(us) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#columns.at[middle] <= us) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Make the rows what they were after `position` changes. @param {number} position */
  seek(position) {
    if (position < this.position || position - this.position > KEY) {
      const key = Math.min(Math.floor(position / KEY), this.#keys.length - 1);
      const rows = this.#keys[key] ?? new Int32Array(0);
      this.#rows.fill(-1);
      this.#rows.set(rows);
      this.size = rows.length;
      this.counts = [0, 0, 0, 0, 0];
      for (let place = 0; place < rows.length; place++) this.counts[this.#columns.state[rows[place]]]++;
      this.position = Math.max(0, key) * KEY;
      this.orderVersion++;
    }
    const { place, state } = this.#columns;
    for (let index = this.position; index < position; index++) {
      const where = place[index];
      const before = this.#rows[where];
      if (before < 0) this.size = Math.max(this.size, where + 1);
      if (before < 0 || state[before] !== state[index]) {
        if (before >= 0) this.counts[state[before]]--;
        this.counts[state[index]]++;
        this.orderVersion++;
      }
      this.#rows[where] = index;
    }
    this.position = position;
  }

  /**
   * How much happened, and whether something failed, in each of `n` equal parts of the track.
   * @param {number} n
   */
  profile(n) {
    const events = new Float64Array(n);
    const failures = new Uint8Array(n);
    const scale = n / Math.max(1, this.end - this.begin);
    const part = (/** @type {number} */ us) => Math.min(n - 1, Math.floor((us - this.begin) * scale));
    for (let index = 0; index < this.length; index++) events[part(this.#columns.at[index])]++;
    for (const us of this.failures) failures[part(us)] = 1;
    return { events, failures };
  }

  /** @param {number} place */
  stateOf(place) {
    return this.#columns.state[this.#rows[place]];
  }

  /** @param {number} place @returns {unknown} */
  keyOf(place) {
    return this.#rows[place];
  }

  /** @param {number} place @returns {Row} */
  rowAt(place) {
    const index = this.#rows[place];
    const c = this.#columns;
    const text = (/** @type {Uint32Array} */ column) => this.#texts[column[index]];
    const number = (/** @type {number} */ value) => (Number.isNaN(value) ? null : Math.round(value * 100) / 100);
    return {
      job: text(c.job), state: c.state[index], progress: number(c.progress[index]), step: text(c.step), url: text(c.url),
      error: text(c.error), attempt: c.attempt[index], duration: number(c.duration[index]),
    }; // prettier-ignore
  }

  /** @param {number} place */
  #addPlace(place) {
    if (place >= this.#last.length) {
      this.#last = resized(this.#last, 2 * (place + 1));
      this.#rows = resized(this.#rows, 2 * (place + 1));
    }
    this.#last[place] = -1;
    this.#rows[place] = -1;
    this.#places = place + 1;
  }

  /** @param {number} length */
  #grow(length) {
    if (length <= this.#columns.at.length) return;
    for (const name of /** @type {(keyof typeof COLUMNS)[]} */ (Object.keys(COLUMNS))) {
      const wider = new COLUMNS[name](2 * length);
      wider.set(this.#columns[name]);
      /** @type {Record<string, unknown>} */ (this.#columns)[name] = wider;
    }
  }
}

/** @param {Int32Array} array @param {number} length */
function resized(array, length) {
  const wider = new Int32Array(length).fill(-1);
  wider.set(array);
  return wider;
}

/**
 * @typedef {import("./order.js").Rows} Rows
 * @typedef {import("./order.js").Row} Row
 */
