// What an event does to its execution: the rules of state.py for the page. tests/test_tape.py holds the two together. Pure.
import { CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING } from "./words.js";

const QUEUES = 1;
const STARTS = 2;
const RUNS = 3;
const TELLS = 4;
const ENDS = 5; // ENDS + a state: ends in it
/** A type that changes no state. */
export const NOTHING = 0;
/** The state of a place that has no execution (yet). */
export const NONE = 255;
/** Of an attempt that did not start, end or wait: no event. */
export const NEVER = 0xffffffff;

/** @type {Record<string, number>} */
const DEEDS = {
  job_queued: QUEUES, job_started: STARTS, job_progress: RUNS, job_log: TELLS, job_completed: ENDS + COMPLETED,
  job_failed: ENDS + FAILED, job_cancelled: ENDS + CANCELLED,
}; // prettier-ignore

/** @param {string} type of an event */
export const deedOf = (type) => DEEDS[type] ?? NOTHING;

/** Whether an event opens an attempt where the newest one is in this state. @param {number} state @param {number} deed */
export const opens = (state, deed) => state === NONE || (deed === STARTS && isOver(state));

/** @param {number} state */
export const isOver = (state) => state >= COMPLETED && state !== NONE;

/**
 * What of an attempt an event says: the events that queued, started and ended it.
 * @typedef {{queued: number, started: number, ended: number}} Moments
 */

/**
 * The state after an event, which is marked in the moments where it makes one; -1 when it counts for nothing but itself.
 * @param {number} state before it
 * @param {number} deed
 * @param {number} index of the event
 * @param {Moments} moments
 */
export function after(state, deed, index, moments) {
  if (isOver(state)) return -1;
  if (deed >= ENDS) {
    moments.ended = index;
    return deed - ENDS;
  }
  if (deed === STARTS) {
    if (state === RUNNING) return -1;
    moments.started = index;
    return RUNNING;
  }
  if (deed === RUNS) return RUNNING;
  if (deed === QUEUES) {
    if (state === RUNNING || moments.queued !== NEVER) return -1;
    moments.queued = index;
    return QUEUED;
  }
  return state;
}
