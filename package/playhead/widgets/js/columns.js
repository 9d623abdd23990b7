// The events of a tape, a typed array for each thing known of them, which grow together. Pure.
import { room } from "./texts.js";

export class Columns {
  /** The latest moment so far: the track never runs backwards, an older moment counts as that. */
  when = new Float64Array(1024);
  at = new Float64Array(1024);
  seq = new Float64Array(1024);
  type = new Uint16Array(1024);
  place = new Uint32Array(1024);
  /** Of its execution after the event. */
  state = new Uint8Array(1024);
  attempt = new Uint32Array(1024);
  progress = new Float32Array(1024);
  step = new Uint32Array(1024);
  url = new Uint32Array(1024);
  /** The event of the attempt that told its progress, step and url last, -1 for none. */
  progressBy = new Int32Array(1024);
  stepBy = new Int32Array(1024);
  urlBy = new Int32Array(1024);
  error = new Uint32Array(1024);
  message = new Uint32Array(1024);
  batch = new Uint32Array(1024);
  /** The event before it of the same place, -1 for none. */
  before = new Int32Array(1024);

  /** @param {number} n events */
  grow(n) {
    if (n <= this.when.length) return;
    const columns = /** @type {Record<string, Float64Array>} */ (/** @type {unknown} */ (this));
    for (const name of Object.keys(this)) columns[name] = room(columns[name], n);
  }
}
