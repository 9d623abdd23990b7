// The recording, its marker, the one clock that moves it, and the execution that is looked at: once, however many views.
import { Signal } from "./elements.js";
import { Marker } from "./marker.js";
import { Tape } from "./tape.js";

const FRAME_MS = 33;

export class Deck {
  /** All that was recorded. */
  whole = new Tape();
  /** What is looked at: all, or one batch of it. */
  tape = this.whole;
  marker = new Marker(this.tape);
  /** The place of the execution that is looked at, -1 for none. */
  selected = -1;
  /** The batch that is looked at, "" for all. */
  batch = "";
  changed = new Signal();
  #log = -1;
  #clock = 0;
  #before = 0;

  /** Begin anew when the log is another one. @param {number} log */
  useLog(log) {
    if (log === this.#log) return;
    if (this.#log >= 0) {
      this.whole = new Tape();
      this.selected = -1;
      this.pick(this.batch);
    }
    this.#log = log;
    this.moved();
  }

  /** @param {number} log */
  isOld(log) {
    return log < this.#log;
  }

  /** Whether this is what the kernel has. @param {number} log @param {number} length */
  isAt(log, length) {
    return log < this.#log || (log === this.#log && length <= this.whole.length);
  }

  /** Look at one batch, or with "" at all; the marker stays where it is if that has happened in it. @param {string} batch */
  pick(batch) {
    const { isLive, speed, skipsIdle, at } = this.marker;
    this.batch = batch;
    this.tape = this.tapeOf();
    this.marker = new Marker(this.tape);
    Object.assign(this.marker, { speed, skipsIdle });
    if (!isLive) this.marker.seek(at);
    this.moved();
  }

  /** What is looked at of the whole. */
  tapeOf() {
    return this.batch ? this.whole.only(this.batch) : this.whole;
  }

  /** @param {number} place */
  select(place) {
    if (place === this.selected) return;
    this.selected = place;
    this.changed.tell();
  }

  /** The marker or the tape has changed: the rows follow, and the clock runs while it plays. */
  moved() {
    if (this.tape.catchUp()) this.marker.loosen();
    this.tape.seek(this.marker.isLive ? this.tape.length : this.marker.position);
    if (this.marker.isPlaying && !this.#clock) {
      this.#before = performance.now();
      this.#clock = setInterval(() => {
        const now = performance.now();
        this.marker.tick(now - this.#before);
        this.#before = now;
        this.moved();
      }, FRAME_MS);
    } else if (!this.marker.isPlaying) this.stop();
    this.changed.tell();
  }

  stop() {
    clearInterval(this.#clock);
    this.#clock = 0;
  }
}
