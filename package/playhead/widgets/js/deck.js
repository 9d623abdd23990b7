// The recording, its marker and the one clock that moves it.
import { Signal } from "./elements.js";
import { Marker } from "./marker.js";
import { Tape } from "./tape.js";

const FRAME_MS = 33;

/** What exists once, however many views: the recording, the marker, the clock. */
export class Deck {
  tape = new Tape();
  marker = new Marker(this.tape);
  changed = new Signal();
  #log = -1;
  #clock = 0;
  #before = 0;

  /** Begin anew when the log is another one. @param {number} log */
  useLog(log) {
    if (log === this.#log) return;
    if (this.#log >= 0) {
      const { speed } = this.marker;
      this.tape = new Tape();
      this.marker = new Marker(this.tape);
      this.marker.speed = speed;
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
    return log < this.#log || (log === this.#log && length <= this.tape.length);
  }

  /** The marker or the tape has changed: the rows follow, and the clock runs while it plays. */
  moved() {
    this.tape.seek(this.marker.isLive ? this.tape.length : this.tape.countAt(this.marker.at));
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
