// Which executions a grid shows and in which order: by state, or as asked. Pure.
import { COMPLETED, FAILED, SHOWN } from "./words.js";

/**
 * What a grid draws: executions by their place, in the order in which they appeared. Times are microseconds since 1970.
 * @typedef {object} Rows
 * @property {number} places how many there are, those without an execution (yet) too
 * @property {number} size executions
 * @property {number} version changes when anything does
 * @property {number} orderVersion changes when a state changes or a row comes or goes; progress does not move rows
 * @property {number[]} counts by state
 * @property {(place: number) => number} stateOf NONE where there is no execution
 * @property {(place: number) => unknown} keyOf differs when the row does
 * @property {(place: number) => Row} rowAt
 * @property {(execution: string | null, job: string) => number} placeOf -1 when there is none
 *
 * @typedef {{execution: string, job: string, batch: string, state: number, attempt: number, progress: number | null,
 *   step: string, url: string, error: string, queued: number | null, started: number | null, ended: number | null,
 *   duration: number | null, goal: string, siteName: string, siteUrl: string}} Row `duration` in milliseconds
 *
 * @typedef {"state" | "newest" | "job" | "progress" | "duration"} Sort
 * @typedef {{search: string, states: Set<number>, sort: Sort, isGrouped: boolean, folded: Set<string>}} Query no states: all
 * @typedef {{batch: string, size: number, counts: number[]}} Group
 * @typedef {{entries: Int32Array, groups: Group[], matching: number}} View places in order; -1 - n stands for the n-th group
 */

/** @returns {Query} */
export const everything = () => ({ search: "", states: new Set(), sort: "state", isGrouped: false, folded: new Set() });

/** Whether a query leaves executions out. @param {Query} query */
export const narrows = (query) => query.search !== "" || query.states.size > 0;

/**
 * Places by state, in one pass without comparing: newest first among those that failed or are done, oldest first among the
 * others, so that a row does not move because another one came.
 * @param {Rows} rows
 */
export function orderOf(rows) {
  const next = [0, 0, 0, 0, 0];
  let start = 0;
  for (const state of SHOWN) {
    next[state] = start;
    start += rows.counts[state];
  }
  const step = [1, 1, 1, 1, 1];
  for (const state of [FAILED, COMPLETED]) {
    next[state] += rows.counts[state] - 1;
    step[state] = -1;
  }
  const order = new Int32Array(rows.size);
  for (let place = 0; place < rows.places; place++) {
    const state = rows.stateOf(place);
    if (state >= next.length) continue;
    order[next[state]] = place;
    next[state] += step[state];
  }
  return order;
}

const collator = new Intl.Collator("en", { numeric: true });

/** What a row is sorted by, greatest first. @param {Sort} sort @param {Row} row */
const measure = (sort, row) => (sort === "progress" ? (row.progress ?? -1) : (row.duration ?? -1));

/** The words of rows that a search looks at, made again when the row is another. */
class Words {
  /** @type {unknown[]} */
  #keys = [];
  /** @type {string[]} */
  #words = [];

  /** @param {Rows} rows @param {number} place */
  of(rows, place) {
    const key = rows.keyOf(place);
    if (this.#keys[place] !== key) {
      const { job, execution, batch, step, url, error, goal, siteName, siteUrl } = rows.rowAt(place);
      this.#keys[place] = key;
      this.#words[place] = [job, execution, batch, step, url, error, goal, siteName, siteUrl].join("\n").toLowerCase();
    }
    return this.#words[place];
  }
}

/** Makes views of rows; keeps what a search has looked at. */
export class Viewer {
  #words = new Words();
  /** @type {Rows | null} */
  #rows = null;

  /** @param {Rows} rows @param {Query} query @returns {View} */
  view(rows, query) {
    if (rows !== this.#rows) this.#words = new Words();
    this.#rows = rows;
    /** @type {Int32Array} */
    let order = orderOf(rows);
    if (query.states.size) order = order.filter((place) => query.states.has(rows.stateOf(place)));
    const words = query.search.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) {
      order = order.filter((place) => {
        const text = this.#words.of(rows, place);
        return words.every((word) => text.includes(word));
      });
    }
    if (query.sort !== "state") order = sorted(rows, order, query.sort);
    return query.isGrouped ? grouped(rows, order, query.folded) : { entries: order, groups: [], matching: order.length };
  }
}

/** @param {Rows} rows @param {Int32Array} order @param {Sort} sort */
function sorted(rows, order, sort) {
  if (sort === "newest") return order.sort((one, other) => other - one);
  if (sort === "job") {
    const names = new Map(Array.from(order, (place) => [place, rows.rowAt(place).job]));
    return order.sort((one, other) => collator.compare(names.get(one) ?? "", names.get(other) ?? ""));
  }
  const measures = new Map(Array.from(order, (place) => [place, measure(sort, rows.rowAt(place))]));
  return order.sort((one, other) => /** @type {number} */ (measures.get(other)) - /** @type {number} */ (measures.get(one)));
}

/** Batch by batch, newest first, each under a line that tells of it. @param {Rows} rows @param {Int32Array} order @param {Set<string>} folded @returns {View} */
function grouped(rows, order, folded) {
  /** @type {Map<string, number[]>} */
  const members = new Map();
  for (const place of order) {
    const { batch } = rows.rowAt(place);
    const found = members.get(batch);
    if (found) found.push(place);
    else members.set(batch, [place]);
  }
  const newest = (/** @type {number[]} */ places) => places.reduce((most, place) => Math.max(most, place), 0);
  const batches = [...members].sort(([, one], [, other]) => newest(other) - newest(one));
  /** @type {number[]} */
  const entries = [];
  const groups = batches.map(([batch, places], which) => {
    const counts = [0, 0, 0, 0, 0];
    for (const place of places) counts[rows.stateOf(place)]++;
    entries.push(-1 - which);
    if (!folded.has(batch)) for (const place of places) entries.push(place);
    return { batch, size: places.length, counts };
  });
  return { entries: Int32Array.from(entries), groups, matching: order.length };
}
