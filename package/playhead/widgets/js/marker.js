// The marker that moves along a recording: at the right end it is live, anywhere else it is in the past. Pure.

export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 100, 300, 1000];

export class Marker {
  isLive = true;
  isPlaying = false;
  speed = 1;
  /** Microseconds since 1970, while in the past. */
  #at = 0;
  #tape;

  /** @param {import("./tape.js").Tape} tape */
  constructor(tape) {
    this.#tape = tape;
  }

  get at() {
    return this.isLive ? this.#tape.end : this.#at;
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
    this.isLive = false;
  }

  goLive() {
    this.isLive = true;
    this.isPlaying = false;
  }

  /** Time goes by. @param {number} ms */
  tick(ms) {
    if (this.isPlaying) this.seek(this.#at + ms * 1000 * this.speed);
  }
}
