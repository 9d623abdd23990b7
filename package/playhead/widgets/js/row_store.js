// The rows of a live grid: a whole, then what changed. Pure.

/**
 * On the wire a row is [job, state, progress, step, url, error, attempt, duration in ms].
 * @typedef {[string, number, number | null, string | null, string | null, string | null, number, number | null]} Wire
 */

/** @implements {Rows} */
export class RowStore {
  /** @type {Wire[]} */
  #rows = [];
  #log = -1;
  #rev = -1;
  orderVersion = 0;
  counts = [0, 0, 0, 0, 0];

  get size() {
    return this.#rows.length;
  }

  /** Take the whole, unless it is older than what is here. @param {number} log @param {number} rev @param {Wire[]} rows */
  restore(log, rev, rows) {
    if (log < this.#log || (log === this.#log && rev < this.#rev)) return;
    this.#log = log;
    this.#rev = rev;
    this.#rows = rows;
    this.counts = [0, 0, 0, 0, 0];
    for (const row of rows) this.counts[row[1]]++;
    this.orderVersion++;
  }

  /**
   * Take what changed; revision 1 of another log begins anew.
   * @param {number} log
   * @param {number} rev
   * @param {[number, Wire][]} changes
   * @returns {boolean} false when a message before this one is missing: ask for the whole
   */
  take(log, rev, changes) {
    if (log < this.#log || (log === this.#log && rev <= this.#rev)) return true;
    if (log > this.#log) this.restore(log, 0, []);
    const isWhole = rev === this.#rev + 1;
    for (const [place, row] of changes) if (place <= this.#rows.length) this.#put(place, row);
    if (isWhole) this.#rev = rev;
    return isWhole;
  }

  /** Whether this is what the kernel has. @param {number} log @param {number} rev */
  isAt(log, rev) {
    return log < this.#log || (log === this.#log && rev <= this.#rev);
  }

  /** @param {number} place @param {Wire} row */
  #put(place, row) {
    const old = this.#rows[place];
    if (old?.[1] !== row[1]) {
      if (old) this.counts[old[1]]--;
      this.counts[row[1]]++;
      this.orderVersion++;
    }
    this.#rows[place] = row;
  }

  /** @param {number} place */
  stateOf(place) {
    return this.#rows[place][1];
  }

  /** @param {number} place @returns {unknown} */
  keyOf(place) {
    return this.#rows[place];
  }

  /** @param {number} place @returns {Row} */
  rowAt(place) {
    const [job, state, progress, step, url, error, attempt, duration] = this.#rows[place];
    return { job, state, progress, step: step ?? "", url: url ?? "", error: error ?? "", attempt, duration };
  }
}

/**
 * @typedef {import("./order.js").Rows} Rows
 * @typedef {import("./order.js").Row} Row
 */
