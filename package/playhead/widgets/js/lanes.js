// Which lane of a timeline an attempt lies in: the first that is free when it begins, so there are as many as ever ran at once. Pure.

/** @typedef {import("./tape.js").Tape} Tape */

export class Lanes {
  /** The lane of each attempt. @type {number[]} */
  of = [];
  count = 0;
  #ended = 0;
  /** Free lanes, the lowest first: a heap. @type {number[]} */
  #free = [];
  /** @type {Tape | null} */
  #tape = null;

  /** Give lanes to attempts that have none. @param {Tape} tape */
  extend(tape) {
    if (tape !== this.#tape) {
      this.#tape = tape;
      this.of = [];
      this.count = this.#ended = 0;
      this.#free = [];
    }
    const { attempts, ends } = tape;
    while (this.of.length < attempts.length) {
      const { first } = attempts[this.of.length];
      while (this.#ended < ends.length && attempts[ends[this.#ended]].ended < first) this.#give(this.of[ends[this.#ended++]]);
      this.of.push(this.#free.length ? this.#take() : this.count++);
    }
  }

  /** @param {number} lane */
  #give(lane) {
    const heap = this.#free;
    let at = heap.push(lane) - 1;
    for (let up = (at - 1) >> 1; at > 0 && heap[up] > heap[at]; at = up, up = (at - 1) >> 1) [heap[up], heap[at]] = [heap[at], heap[up]];
  }

  #take() {
    const heap = this.#free;
    const found = heap[0];
    const last = /** @type {number} */ (heap.pop());
    if (heap.length) {
      heap[0] = last;
      for (let at = 0, low = 1; low < heap.length; at = low, low = 2 * at + 1) {
        if (low + 1 < heap.length && heap[low + 1] < heap[low]) low++;
        if (heap[at] <= heap[low]) break;
        [heap[at], heap[low]] = [heap[low], heap[at]];
      }
    }
    return found;
  }
}
