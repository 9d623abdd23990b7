// The rows of a live grid: a whole, then what changed. Pure.
import { NONE } from "./rules.js";

/**
 * On the wire a row is [state, progress, step, url, error, attempt, queued, started, ended, events] and, where it was not told
 * before or is another, the names [execution, job, batch, goal, siteName, siteUrl]; times are microseconds since 1970.
 * @typedef {[number, number | null, string | null, string | null, string | null, number, number | null, number | null, number | null, number]} Now
 * @typedef {[string | null, string, string | null, string | null, string | null, string | null]} Names
 * @typedef {[Now, Names]} Wire
 */

const NOW = 10; // parts of a row that are not names

/** @implements {Rows} */
export class RowStore {
  /** @type {Wire[]} */
  #rows = [];
  log = -1;
  rev = -1;
  version = 0;
  orderVersion = 0;
  counts = [0, 0, 0, 0, 0];

  get size() {
    return this.#rows.length;
  }

  get places() {
    return this.#rows.length;
  }

  /**
   * Take the whole, unless it is older than what is here.
   * @param {number} log
   * @param {number} rev
   * @param {any[][]} columns a list for each part of a row, in their order
   */
  restore(log, rev, columns) {
    if (log < this.log || (log === this.log && rev <= this.rev)) return;
    this.log = log;
    this.rev = rev;
    this.counts = [0, 0, 0, 0, 0];
    this.#rows = (columns[0] ?? []).map((/** @type {number} */ state, /** @type {number} */ place) => {
      const row = columns.map((column) => column[place]);
      this.counts[state]++;
      return /** @type {Wire} */ ([row.slice(0, NOW), row.slice(NOW)]);
    });
    this.orderVersion++;
    this.version++;
  }

  /**
   * Take what changed; revision 1 of another log begins anew.
   * @param {number} log
   * @param {number} rev
   * @param {[number, Now, Names?][]} changes
   * @returns {boolean} false when a message before this one is missing: ask for the whole
   */
  take(log, rev, changes) {
    if (log < this.log || (log === this.log && rev <= this.rev)) return true;
    if (log > this.log) this.restore(log, 0, []);
    const isWhole = rev === this.rev + 1;
    for (const [place, now, names = this.#rows[place]?.[1]] of changes) if (names && place <= this.#rows.length) this.#put(place, [now, names]);
    this.version++;
    if (isWhole) this.rev = rev;
    return isWhole;
  }

  /** Whether this is what the kernel has. @param {number} log @param {number} rev */
  isAt(log, rev) {
    return log < this.log || (log === this.log && rev <= this.rev);
  }

  /** The whole, as `restore` takes it. @returns {unknown[][]} */
  columns() {
    return Array.from({ length: NOW + 6 }, (_, part) => this.#rows.map(([now, names]) => (part < NOW ? now[part] : names[part - NOW])));
  }

  /** @param {number} place @param {Wire} row */
  #put(place, row) {
    const old = this.#rows[place];
    const state = row[0][0];
    if (old?.[0][0] !== state) {
      if (old) this.counts[old[0][0]]--;
      this.counts[state]++;
      this.orderVersion++;
    }
    this.#rows[place] = row;
  }

  /** @param {number} place */
  stateOf(place) {
    return this.#rows[place]?.[0][0] ?? NONE;
  }

  /** @param {number} place @returns {unknown} */
  keyOf(place) {
    return this.#rows[place]?.[0];
  }

  /** How many events made it. @param {number} place */
  eventsTo(place) {
    return this.#rows[place][0][9];
  }

  /** @param {string | null} execution @param {string} job */
  placeOf(execution, job) {
    return this.#rows.findIndex(([, names]) => names[1] === job && names[0] === execution);
  }

  /** @param {number} place @returns {Row} */
  rowAt(place) {
    const [[state, progress, step, url, error, attempt, queued, started, ended], names] = this.#rows[place];
    const [execution, job, batch, goal, siteName, siteUrl] = names.map((name) => name ?? "");
    return {
      execution, job, batch, state, attempt, progress, step: step ?? "", url: url ?? "", error: error ?? "", queued, started,
      ended, duration: started === null || ended === null ? null : (ended - started) / 1000, goal, siteName, siteUrl,
    }; // prettier-ignore
  }
}

/**
 * @typedef {import("./order.js").Rows} Rows
 * @typedef {import("./order.js").Row} Row
 */
