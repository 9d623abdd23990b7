// A recording in the page: every event in columns, and the executions as they were after any number of them. Pure.
import { Columns } from "./columns.js";
import { TEXTS } from "./piece.js";
import { NEVER, NONE, NOTHING, after, deedOf, isOver, opens } from "./rules.js";
import { Texts } from "./texts.js";
import { FAILED } from "./words.js";

const KEY = 4096; // events between keyframes, or as many as there are places if that is more: 0.3 ms to any position
const NAMES = /** @type {const} */ (["goal", "siteName", "siteUrl"]);

/**
 * @typedef {import("./order.js").Rows} Rows
 * @typedef {import("./order.js").Row} Row
 * @typedef {import("./piece.js").Piece} Piece
 * @typedef {Record<typeof NAMES[number], number>} Names of an attempt, as texts; said by the event at `index` or before it
 * @typedef {{place: number, number: number, batch: number, first: number, names: ({index: number} & Names)[]}
 *   & import("./rules.js").Moments} Attempt
 * @typedef {{index: number, seq: number, at: number, type: string, execution: string, job: string, batch: string,
 *   state: number, progress: number | null, step: string, url: string, error: string, message: string}} Told an event
 */

/** @implements {Rows} */
export class Tape {
  /** Events held. */
  length = 0;
  /** Events applied: the rows are as they were after that many. */
  position = 0;
  /** Executions at the position. */
  size = 0;
  version = 0;
  orderVersion = 0;
  counts = [0, 0, 0, 0, 0];
  /** Every attempt, in order of its first event. @type {Attempt[]} */
  attempts = [];
  /** Attempts in the order in which they ended. @type {number[]} */
  ends = [];
  /** Events by which an attempt failed. @type {number[]} */
  failures = [];
  /** Where a batch begins or ends: events. @type {number[]} */
  boundaries = [];
  /** Batches in order of appearance, as texts of a number. @type {Map<string, number>} */
  batches = new Map();
  /** @type {import("./piece.js").Pair[]} */
  pairs = [];
  /** @type {string[]} */
  types = [];
  texts = new Texts();
  /** @type {number[]} */
  #deeds = [];
  #c = new Columns();
  /** For each place its last event: at the position, and at the end. */
  #rows = new Int32Array(64).fill(-1);
  #last = new Int32Array(64).fill(-1);
  #places = 0;
  /** `#last` before some event. @type {{at: number, rows: Int32Array}[]} */
  #keys = [];
  /** Number of a text -> the first number that text had. @type {Map<number, number>} */
  #sameBatch = new Map();

  get begin() {
    return this.length ? this.#c.when[0] : 0;
  }

  get end() {
    return this.length ? this.#c.when[this.length - 1] : 0;
  }

  get places() {
    return this.#places;
  }

  /**
   * Take a piece; what is known of it is skipped.
   * @param {Piece} piece
   * @returns {boolean} false when a piece before it is missing
   */
  append(piece) {
    if (piece.first > this.length || piece.firstPlace > this.pairs.length || piece.firstType > this.types.length) return false;
    const skip = this.length - piece.first;
    if (skip >= piece.n) return true;
    piece.places.forEach((pair, which) => (this.pairs[piece.firstPlace + which] = pair));
    piece.types.forEach((type, which) => {
      this.types[piece.firstType + which] = type;
      this.#deeds[piece.firstType + which] = deedOf(type);
    });
    const base = this.texts.length - 1;
    this.texts.append(piece.lengths, piece.bytes);
    const columns = TEXTS.map((name) => piece.texts[name]);
    const text = (/** @type {number} */ which, /** @type {number} */ index) => {
      const number = columns[which]?.[index];
      return number ? number + base : 0;
    };
    this.#c.grow(piece.first + piece.n);
    for (let index = skip; index < piece.n; index++) {
      this.#put(piece.at[index], piece.seq[index], piece.type[index], piece.place[index], piece.progress[index], text(0, index),
        text(1, index), text(2, index), text(3, index), text(4, index), text(5, index), text(6, index), text(7, index)); // prettier-ignore
    }
    return true;
  }

  /**
   * @param {number} at @param {number} seq @param {number} type @param {number} place @param {number} progress
   * @param {number} step @param {number} url @param {number} error @param {number} message @param {number} batch
   * @param {number} goal @param {number} siteName @param {number} siteUrl
   */
  #put(at, seq, type, place, progress, step, url, error, message, batch, goal, siteName, siteUrl) {
    const c = this.#c;
    const index = this.length;
    if (index - (this.#keys.at(-1)?.at ?? -Infinity) >= Math.max(KEY, this.#places)) this.#keys.push({ at: index, rows: this.#last.slice(0, this.#places) });
    if (place >= this.#places) this.#addPlace(place);
    const before = this.#last[place];
    const deed = this.pairs[place][1] === null ? NOTHING : this.#deeds[type];
    let state = before < 0 ? NONE : c.state[before];
    let attempt = before < 0 ? 0 : c.attempt[before];
    let isFresh = before < 0;
    c.at[index] = at;
    c.when[index] = index ? Math.max(at, c.when[index - 1]) : at;
    c.seq[index] = seq;
    c.type[index] = type;
    c.place[index] = place;
    c.message[index] = message;
    c.batch[index] = batch = this.#batchOf(batch, index);
    c.progress[index] = progress;
    c.step[index] = step;
    c.url[index] = url;
    c.before[index] = before;
    let counts = false;
    if (deed !== NOTHING) {
      if (opens(state, deed)) {
        attempt = this.attempts.length;
        const number = isFresh || state === NONE ? 1 : this.attempts[c.attempt[before]].number + 1;
        this.attempts.push({ place, number, batch, first: index, names: [], queued: NEVER, started: NEVER, ended: NEVER });
        state = 0;
        isFresh = true;
      }
      const found = after(state, deed, index, this.attempts[attempt]);
      counts = found >= 0;
      if (counts) state = found;
      if (counts && isOver(found)) this.ends.push(attempt);
      if (counts && found === FAILED) this.failures.push(index);
      if (counts && (goal || siteName || siteUrl)) this.#name(this.attempts[attempt], index, { goal, siteName, siteUrl });
    } else if (this.types[type] === "batch_completed") this.boundaries.push(index);
    c.state[index] = state;
    c.attempt[index] = attempt;
    c.error[index] = error;
    c.progressBy[index] = counts && progress >= 0 ? index : isFresh ? -1 : c.progressBy[before];
    c.stepBy[index] = counts && step ? index : isFresh ? -1 : c.stepBy[before];
    c.urlBy[index] = counts && url ? index : isFresh ? -1 : c.urlBy[before];
    this.#last[place] = index;
    this.length = index + 1;
  }

  /** @param {number} batch @param {number} index of the event that names it */
  #batchOf(batch, index) {
    if (!batch) return 0;
    let same = this.#sameBatch.get(batch);
    if (same === undefined) {
      const name = this.texts.at(batch);
      same = this.batches.get(name) ?? batch;
      this.#sameBatch.set(batch, same);
      if (same === batch) {
        this.batches.set(name, batch);
        this.boundaries.push(index);
      }
    }
    return same;
  }

  /** @param {Attempt} attempt @param {number} index @param {Names} told */
  #name(attempt, index, told) {
    const last = attempt.names.at(-1);
    const goal = told.goal || (last?.goal ?? 0);
    const siteName = told.siteName || (last?.siteName ?? 0);
    const siteUrl = told.siteUrl || (last?.siteUrl ?? 0);
    if (last && last.goal === goal && last.siteName === siteName && last.siteUrl === siteUrl) return;
    attempt.names.push({ index, goal, siteName, siteUrl });
  }

  /** A tape of the events of one batch, or one execution, which `catchUp` fills. @param {string} id @param {boolean} [isExecution] */
  only(id, isExecution = false) {
    const tape = new Tape();
    tape.pairs = this.pairs;
    tape.types = this.types;
    tape.texts = this.texts;
    tape.#deeds = this.#deeds;
    let taken = 0;
    tape.catchUp = () => {
      const batch = this.batches.get(id);
      tape.#c.grow(tape.length + this.length - taken);
      for (; taken < this.length; taken++) {
        if (isExecution ? this.pairs[this.#c.place[taken]][0] !== id : this.#c.batch[taken] !== batch) continue;
        const names = this.#namesAt(this.attempts[this.#c.attempt[taken]], taken);
        tape.#put(this.#c.at[taken], this.#c.seq[taken], this.#c.type[taken], this.#c.place[taken], this.#c.progress[taken],
          this.#c.step[taken], this.#c.url[taken], this.#c.error[taken], this.#c.message[taken], this.#c.batch[taken],
          names?.goal ?? 0, names?.siteName ?? 0, names?.siteUrl ?? 0); // prettier-ignore
      }
      return false;
    };
    tape.catchUp();
    return tape;
  }

  /** Take what has come to the tape that this is a part of; true when that moves what was there. @returns {boolean} */
  catchUp() {
    return false;
  }

  /** How many events had happened at a time. @param {number} us */
  countAt(us) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#c.when[middle] <= us) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** When an event counts as having happened. @param {number} index */
  whenOf(index) {
    return this.#c.when[index];
  }

  /** Make the rows what they were after `position` events. @param {number} position */
  seek(position) {
    if (position < this.position || position - this.position > Math.max(KEY, this.#places)) this.#jump(position);
    for (let index = this.position; index < position; index++) {
      const where = this.#c.place[index];
      const before = this.#rows[where];
      const old = before < 0 ? NONE : this.#c.state[before];
      const state = this.#c.state[index];
      if (old !== state || (before >= 0 && this.#c.attempt[before] !== this.#c.attempt[index])) {
        if (old !== NONE) this.counts[old]--;
        else this.size++;
        this.counts[state]++;
        this.orderVersion++;
      }
      this.#rows[where] = index;
    }
    if (this.position !== position) this.version++;
    this.position = position;
  }

  /** To the last keyframe before a position. @param {number} position */
  #jump(position) {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle].at <= position) low = middle + 1;
      else high = middle;
    }
    const key = this.#keys[low - 1] ?? { at: 0, rows: new Int32Array(0) };
    this.#rows.fill(-1);
    this.#rows.set(key.rows);
    this.size = 0;
    this.counts = [0, 0, 0, 0, 0];
    for (let place = 0; place < key.rows.length; place++) {
      const state = key.rows[place] < 0 ? NONE : this.#c.state[key.rows[place]];
      if (state === NONE) continue;
      this.size++;
      this.counts[state]++;
    }
    this.position = key.at;
    this.version++;
    this.orderVersion++;
  }

  /**
   * How much happened, and how often something failed, in each of `n` equal parts of a stretch of time.
   * @param {number} n
   * @param {number} [from] microseconds
   * @param {number} [to]
   */
  profile(n, from = this.begin, to = this.end) {
    const events = new Float64Array(n);
    const failures = new Float64Array(n);
    const scale = n / Math.max(1, to - from);
    const part = (/** @type {number} */ index) => Math.min(n - 1, Math.floor((this.#c.when[index] - from) * scale));
    const first = from > this.begin ? this.countAt(from - 1) : 0;
    const last = to < this.end ? this.countAt(to) : this.length;
    for (let index = first; index < last; index++) events[part(index)]++;
    for (const index of this.failures) if (index >= first && index < last) failures[part(index)]++;
    return { events, failures };
  }

  // rows

  /** @param {number} place */
  stateOf(place) {
    const index = this.#rows[place];
    return index < 0 || index === undefined ? NONE : this.#c.state[index];
  }

  /** @param {number} place @returns {number} the event that made the row what it is */
  keyOf(place) {
    return this.#rows[place] ?? -1;
  }

  /** @param {number} place @returns {Row} */
  rowAt(place) {
    const index = this.#rows[place];
    const attempt = this.attempts[this.#c.attempt[index]];
    const text = (/** @type {number} */ number) => this.texts.at(number);
    const moment = (/** @type {number} */ event) => (event <= index ? this.#c.at[event] : null);
    const [queued, started, ended] = [moment(attempt.queued), moment(attempt.started), moment(attempt.ended)];
    const names = this.#namesAt(attempt, index);
    const by = (/** @type {Int32Array} */ tellers, /** @type {Uint32Array} */ texts) => (tellers[index] < 0 ? "" : text(texts[tellers[index]]));
    const progress = this.#c.progressBy[index];
    const [execution, job] = this.pairs[place];
    return {
      execution: execution ?? "", job: job ?? "", batch: text(attempt.batch), state: this.#c.state[index], attempt: attempt.number,
      progress: progress < 0 ? null : number(this.#c.progress[progress]), step: by(this.#c.stepBy, this.#c.step),
      url: by(this.#c.urlBy, this.#c.url), error: ended === null ? "" : text(this.#c.error[attempt.ended]), queued, started, ended,
      duration: started === null || ended === null ? null : (ended - started) / 1000,
      goal: text(names?.goal ?? 0), siteName: text(names?.siteName ?? 0), siteUrl: text(names?.siteUrl ?? 0),
    }; // prettier-ignore
  }

  /** @param {Attempt | undefined} attempt @param {number} index */
  #namesAt(attempt, index) {
    return attempt?.names.findLast((one) => one.index <= index);
  }

  /** The place of an execution's job, -1 when it is not known. @param {string | null} execution @param {string} job */
  placeOf(execution, job) {
    return this.pairs.findIndex((pair) => pair[1] === job && pair[0] === execution);
  }

  /** Events of a place up to the position, newest first. @param {number} place */
  *eventsOf(place) {
    for (let index = this.#rows[place] ?? -1; index >= 0; index = this.#c.before[index]) yield index;
  }

  /** The execution that an attempt is, where it stands at the position. @param {Attempt} attempt */
  spanOf(attempt) {
    const is = (/** @type {number} */ event) => event < this.position;
    const end = is(attempt.ended) ? attempt.ended : -1;
    return {
      from: this.#c.when[is(attempt.started) ? attempt.started : attempt.first], to: end < 0 ? null : this.#c.when[end],
      state: end >= 0 ? this.#c.state[end] : is(attempt.started) ? 1 : this.#stateIn(attempt),
    }; // prettier-ignore
  }

  /** How long the attempts lasted that had started and ended, in milliseconds. */
  *durations() {
    for (const which of this.ends) {
      const { started, ended } = this.attempts[which];
      if (ended >= this.position) return;
      if (started !== NEVER) yield (this.#c.at[ended] - this.#c.at[started]) / 1000;
    }
  }

  /** @param {Attempt} attempt that did not end */
  #stateIn(attempt) {
    const index = this.#rows[attempt.place];
    return index >= 0 && this.attempts[this.#c.attempt[index]] === attempt ? this.#c.state[index] : 0;
  }

  /** @param {number} index @returns {number} */
  placeAt(index) {
    return this.#c.place[index];
  }

  /** What an event itself said. @param {number} index @returns {Told} */
  eventAt(index) {
    const [execution, job] = this.pairs[this.#c.place[index]];
    const text = (/** @type {number} */ one) => this.texts.at(one);
    return {
      index, seq: this.#c.seq[index], at: this.#c.at[index], type: this.types[this.#c.type[index]], execution: execution ?? "",
      job: job ?? "", batch: text(this.#c.batch[index]), state: this.#c.state[index],
      progress: number(this.#c.progress[index]), step: text(this.#c.step[index]), url: text(this.#c.url[index]), error: text(this.#c.error[index]), message: text(this.#c.message[index]),
    }; // prettier-ignore
  }

  /** @param {number} place */
  #addPlace(place) {
    if (place >= this.#last.length) {
      this.#last = filled(this.#last, 2 * (place + 1));
      this.#rows = filled(this.#rows, 2 * (place + 1));
    }
    this.#places = place + 1;
  }
}

/** @param {Int32Array} array @param {number} length */
function filled(array, length) {
  const wider = new Int32Array(length).fill(-1);
  wider.set(array);
  return wider;
}

/** @param {number} value */
const number = (value) => (Number.isNaN(value) ? null : Math.round(value * 100) / 100);
