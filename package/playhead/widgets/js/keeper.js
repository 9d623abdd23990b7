// What is to be saved, deflated in the background so that it is at hand when a notebook is saved, which waits for nothing.

const QUIET_MS = 1000;
const OFTEN_MS = 5000; // at most, while it keeps changing

export class Keeper {
  /** @type {DataView | null} */
  bytes = null;
  #timer = 0;
  #made = 0;
  #source;

  /** @param {() => unknown} source what is to be saved, as JSON */
  constructor(source) {
    this.#source = source;
  }

  /** It has changed. */
  ask() {
    const now = Date.now();
    if (this.#timer && now - this.#made > OFTEN_MS) return; // due already
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#make(), this.bytes && now - this.#made < OFTEN_MS ? Math.max(QUIET_MS, OFTEN_MS + this.#made - now) : QUIET_MS);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  async #make() {
    this.#timer = 0;
    this.#made = Date.now();
    const text = new TextEncoder().encode(JSON.stringify(this.#source()));
    const deflated = await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer();
    const found = new Uint8Array(4 + deflated.byteLength);
    found.set(new TextEncoder().encode("zlib"));
    found.set(new Uint8Array(deflated), 4);
    this.bytes = new DataView(found.buffer);
  }
}
