// What is to be saved, deflated in the background so that it is at hand when a notebook is saved, which waits for nothing.

const QUIET_MS = 1000;
const OFTEN_MS = 5000; // at most, while it keeps changing,
const SHARE = 100; // and for at most a hundredth of the time

/** @template T */
export class Keeper {
  /** What was kept, and which state of it. @type {{about: T, bytes: DataView} | null} */
  kept = null;
  #timer = 0;
  #made = 0;
  #took = 0;
  #source;

  /** @param {() => {about: T, value: unknown}} source what is to be saved, as JSON, and which state of it that is */
  constructor(source) {
    this.#source = source;
  }

  /** It has changed. */
  ask() {
    const now = Date.now();
    const often = Math.max(OFTEN_MS, this.#took * SHARE);
    if (this.#timer && now - this.#made > often) return; // due already
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#make(), this.kept ? Math.max(QUIET_MS, often + this.#made - now) : QUIET_MS);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  async #make() {
    this.#timer = 0;
    this.#made = Date.now();
    const begun = performance.now();
    const { about, value } = this.#source();
    const text = new TextEncoder().encode(JSON.stringify(value));
    this.#took = performance.now() - begun;
    const deflated = await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer();
    const found = new Uint8Array(4 + deflated.byteLength);
    found.set(new TextEncoder().encode("zlib"));
    found.set(new Uint8Array(deflated), 4);
    this.kept = { about, bytes: new DataView(found.buffer) };
  }
}
