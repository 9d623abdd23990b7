// What a kernel tells a page. Everything comes in one order from one writer: the trait `page` is the whole (in it a page
// that was reloaded finds what it missed), messages are what changed since, and a beat says that the kernel is there.
import { Signal } from "./elements.js";
import { bytesOf, unzipped } from "./piece.js";

/**
 * @typedef {import("./words.js").Status} Status
 * @typedef {{status: Status, notice: string, log: number, time: number, lag?: number | null}} Told
 * @typedef {{
 *   get(name: string): any, set(name: string, value: unknown): void, save_changes(): void,
 *   on(names: string, callback: (...args: any[]) => void): void, off(names: string, callback: (...args: any[]) => void): void,
 *   send(content: unknown): void, widget_manager?: any,
 * }} Model
 */

const SILENT_MS = 4500; // the kernel beats every 2 s
const NEW_MS = 30_000; // a page tells the kernel what it has, once a second at most, until it is that old
const STALE_MS = 10_000; // a whole that is older was saved, not sent

export class Channel {
  /** @type {Status} */
  status = { state: "reconnecting", transport: "websocket", attempt: 0, since: Date.now(), detail: "", url: "", interval: null, lag: null };
  notice = "";
  /** @type {number | null} */
  silentSince = null;
  /** Status, notice or silence changed. */
  changed = new Signal();
  /** When the kernel spoke last. */
  heard = Date.now();
  #asked = 0;
  #before = Promise.resolve();
  #waiting = 0;

  /**
   * Listen until the returned function is called.
   * @param {Model} model
   * @param {(page: any, pieces: Uint8Array[]) => void} restore takes the whole
   * @param {(message: any, pieces: Uint8Array[], raw: DataView[]) => boolean} take takes what changed, as it is and as it came; false when
   *   something before it is missing
   * @param {() => object} extent how much is here, in the kernel's words
   */
  open(model, restore, take, extent) {
    const opened = Date.now();
    let told = 0;
    const tell = () => {
      const now = Date.now();
      if (now - opened > NEW_MS || now - told < 1000) return;
      told = now;
      model.send({ kind: "have", ...extent() });
    };
    const whole = () => {
      const page = model.get("page");
      if (!page?.status) return;
      this.#inOrder(page.pieces ?? [], (pieces) => {
        restore(page, pieces);
        tell();
        this.#hear(page, page.time);
      });
    };
    const part = (/** @type {any} */ message, /** @type {DataView[]} */ buffers) => {
      this.#inOrder(buffers ?? [], (pieces) => {
        if (!take(message, pieces, buffers ?? []) && Date.now() - this.#asked > 1000) {
          this.#asked = Date.now();
          model.send({ kind: "again" });
        }
        this.#hear(message, Date.now());
        tell();
      });
    };
    const watch = setInterval(() => {
      const silent = Date.now() - this.heard > SILENT_MS ? this.heard : null;
      if (silent !== this.silentSince) {
        this.silentSince = silent;
        this.changed.tell();
      }
    }, 500);
    whole();
    model.send({ kind: "new" });
    model.on("change:page", whole);
    model.on("msg:custom", part);
    return () => {
      clearInterval(watch);
      model.off("change:page", whole);
      model.off("msg:custom", part);
    };
  }

  /** Inflating takes a moment: what comes meanwhile waits its turn. @param {DataView[]} views @param {(pieces: Uint8Array[]) => void} act */
  #inOrder(views, act) {
    const pieces = views.map((view) => unzipped(bytesOf(view)));
    if (!this.#waiting && pieces.every((piece) => piece instanceof Uint8Array)) return this.#try(() => act(/** @type {Uint8Array[]} */ (pieces)));
    this.#waiting++;
    const all = Promise.all(pieces);
    all.catch(() => {}); // told below, in its turn
    this.#before = this.#before.then(async () => {
      try {
        const found = await all;
        this.#try(() => act(found));
      } catch (error) {
        this.#broken(error);
      } finally {
        this.#waiting--;
      }
    });
  }

  /** @param {() => void} act */
  #try(act) {
    try {
      act();
    } catch (error) {
      this.#broken(error);
    }
  }

  /** @param {unknown} error */
  #broken(error) {
    console.error("playhead: a part of what the kernel told could not be read", error);
    this.notice = "A part of it could not be read, so something is missing here; run the cell again to read it anew.";
    this.changed.tell();
  }

  /** @param {Partial<Told>} told @param {number} at */
  #hear(told, at) {
    const isOld = Date.now() - at > STALE_MS; // clocks of kernel and page may differ by a few seconds
    this.heard = isOld ? at : Date.now();
    const silent = isOld ? at : null;
    const isNews = this.silentSince !== silent || told.status || told.notice !== undefined;
    this.silentSince = silent;
    if (told.status) this.status = told.status;
    if (told.notice !== undefined) this.notice = told.notice;
    const isLate = told.lag !== undefined && told.lag !== this.status.lag;
    if (isLate) this.status = { ...this.status, lag: told.lag ?? null };
    if (isNews || isLate) this.changed.tell();
  }
}

/** @param {Uint8Array} bytes */
export const jsonOf = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
