// Which execution stands where: failed and active first. Pure.
import { COMPLETED, FAILED, SHOWN } from "./words.js";

/**
 * What a grid draws: executions by their place, in the order in which they appeared.
 * @typedef {object} Rows
 * @property {number} size
 * @property {number} orderVersion changes when a state changes or a row comes or goes; progress does not move rows
 * @property {number[]} counts by state
 * @property {(place: number) => number} stateOf
 * @property {(place: number) => unknown} keyOf differs when the row does
 * @property {(place: number) => Row} rowAt
 *
 * @typedef {{job: string, state: number, progress: number | null, step: string, url: string, error: string,
 *   attempt: number, duration: number | null}} Row
 */

/**
 * Places in the order shown, in one pass without comparing: by state, newest first among those that failed or are done,
 * oldest first among the others, so that a row does not move because another one came.
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
  const order = new Uint32Array(rows.size);
  for (let place = 0; place < rows.size; place++) {
    const state = rows.stateOf(place);
    order[next[state]] = place;
    next[state] += step[state];
  }
  return order;
}
