// Two recordings as one, aligned at their start: time is counted from where each begins. Pure.

/** @typedef {import("./tape.js").Tape} Tape */

export class Pair {
  begin = 0;
  position = 0;
  version = 0;
  /** Of both, in order of their offset: events, and how many of them are the first's. */
  #offsets = new Float64Array(0);
  #firsts = new Uint32Array(1);
  /** @type {number[]} */
  failures = [];
  /** @type {number[]} */
  boundaries = [];
  /** @type {never[]} */
  attempts = [];
  #sides;

  /** @param {[Tape, Tape]} sides */
  constructor(sides) {
    this.#sides = sides;
    this.catchUp();
  }

  get length() {
    return this.#offsets.length;
  }

  get end() {
    return this.length ? this.#offsets[this.length - 1] : 0;
  }

  /** Merge what has come to either; true when there was anything. */
  catchUp() {
    for (const side of this.#sides) side.catchUp();
    const [one, other] = this.#sides;
    if (one.length + other.length === this.length) return false;
    const offsets = new Float64Array(one.length + other.length);
    const firsts = new Uint32Array(offsets.length + 1);
    for (let index = 0, a = 0, b = 0; index < offsets.length; index++) {
      const of = a < one.length ? one.whenOf(a) - one.begin : Infinity;
      const that = b < other.length ? other.whenOf(b) - other.begin : Infinity;
      offsets[index] = Math.min(of, that);
      if (of <= that) a++;
      else b++;
      firsts[index + 1] = a;
    }
    this.#offsets = offsets;
    this.#firsts = firsts;
    this.failures = this.#sides.flatMap((side) => side.failures.map((index) => this.countAt(side.whenOf(index) - side.begin) - 1)).sort((a, b) => a - b);
    return true;
  }

  /** @param {number} index */
  whenOf(index) {
    return this.#offsets[index];
  }

  /** How many events had happened so long after the start. @param {number} us */
  countAt(us) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#offsets[middle] <= us) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {number} position of events of both */
  seek(position) {
    const first = this.#firsts[Math.min(position, this.length)];
    this.#sides[0].seek(first);
    this.#sides[1].seek(Math.min(position, this.length) - first);
    this.position = position;
    this.version++;
  }

  /** As `Tape.profile`. @param {number} n */
  profile(n) {
    const events = new Float64Array(n);
    const failures = new Float64Array(n);
    const part = (/** @type {number} */ index) => Math.min(n - 1, Math.floor((this.#offsets[index] * n) / Math.max(1, this.end)));
    for (let index = 0; index < this.length; index++) events[part(index)]++;
    for (const index of this.failures) failures[part(index)]++;
    return { events, failures };
  }
}
