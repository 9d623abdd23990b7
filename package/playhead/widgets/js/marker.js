// The marker that moves along a recording: at the right end it is live, anywhere else it is in the past. Pure.

export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 100, 300, 1000];
const IDLE_MS = 2000; // a pause that lasts longer, as it is played, is skipped
const LEAD_MS = 300; // to what comes after a pause

export class Marker {
  isLive = true;
  isPlaying = false;
  speed = 1;
  /** Whether stretches where nothing happens are skipped. */
  skipsIdle = true;
  /** Microseconds since 1970, while in the past. */
  #at = 0;
  /** Events that have happened, when they are fewer than at that moment: after a step from one of a moment's events to the next. */
  #position = -1;
  #tape;

  /** @param {import("./tape.js").Tape} tape */
  constructor(tape) {
    this.#tape = tape;
  }

  get at() {
    return this.isLive ? this.#tape.end : this.#at;
  }

  /** Events that have happened. */
  get position() {
    if (this.isLive) return this.#tape.length;
    return this.#position >= 0 ? this.#position : this.#tape.countAt(this.#at);
  }

  /** Where it stands on the track, 0 to 1; at the right end when there is no track yet. */
  get share() {
    const { begin, end } = this.#tape;
    return this.isLive || end <= begin ? 1 : (this.#at - begin) / (end - begin);
  }

  /** Play on from here; from the beginning when live. */
  play() {
    if (this.isLive) this.freeze(this.#tape.begin);
    this.isPlaying = true;
  }

  pause() {
    this.isPlaying = false;
  }

  /** The right end is live, anywhere else the past; what plays goes on playing. @param {number} us */
  seek(us) {
    if (us >= this.#tape.end) this.goLive();
    else this.freeze(us);
  }

  /** Stand still in the past, at this moment or the one given, even if it is the newest. @param {number} [us] */
  freeze(us = this.at) {
    this.#at = Math.max(this.#tape.begin, Math.min(this.#tape.end, us));
    this.#position = -1;
    this.isLive = false;
  }

  /** To the next event or back to the one before; at the ends it stays in the past. @param {1 | -1} by */
  step(by) {
    const position = Math.max(1, Math.min(this.#tape.length, this.position + by));
    if (!this.#tape.length) return;
    this.isPlaying = false;
    this.isLive = false;
    this.#at = this.#tape.whenOf(position - 1);
    this.#position = position;
  }

  /** To the next failure, or the one before; false when there is none. @param {1 | -1} by */
  toFailure(by) {
    const { failures } = this.#tape;
    const here = this.position - 1;
    const found = by > 0 ? failures.find((index) => index > here) : failures.findLast((index) => index < here);
    if (found === undefined) return false;
    this.isPlaying = false;
    this.isLive = false;
    this.#at = this.#tape.whenOf(found);
    this.#position = found + 1;
    return true;
  }

  /** Events have come among those that had happened: what holds is the moment. */
  loosen() {
    this.#position = -1;
  }

  goLive() {
    this.isLive = true;
    this.isPlaying = false;
  }

  /** Time goes by. @param {number} ms */
  tick(ms) {
    if (!this.isPlaying) return;
    const us = ms * 1000 * this.speed;
    const next = this.position < this.#tape.length ? this.#tape.whenOf(this.position) : Infinity;
    const pause = next - this.#at;
    this.seek(this.skipsIdle && pause > IDLE_MS * 1000 * this.speed && pause < Infinity ? next - LEAD_MS * 1000 * this.speed : this.#at + us);
  }
}
