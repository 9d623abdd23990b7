// What a kernel tells a page. Everything comes in one order from one writer: the trait `page` is the whole (in it a page
// that was reloaded finds what it missed), messages are what changed since, and a beat says that the kernel is there.
import { Signal } from "./elements.js";

/**
 * @typedef {import("./words.js").Status} Status
 * @typedef {{status: Status, notice: string, log: number}} Told
 * @typedef {{
 *   get(name: string): any, set(name: string, value: unknown): void, save_changes(): void,
 *   on(names: string, callback: (...args: any[]) => void): void, off(names: string, callback: (...args: any[]) => void): void,
 *   send(content: unknown): void,
 * }} Model
 */

const SILENT_MS = 6000; // the kernel beats every 2 s

export class Channel {
  /** @type {Status} */
  status = { state: "reconnecting", transport: "websocket", attempt: 0, since: Date.now(), detail: "", url: "", interval: null };
  notice = "";
  /** @type {number | null} */
  silentSince = null;
  /** Status, notice or silence changed. */
  changed = new Signal();
  #heard = Date.now();
  #asked = 0;

  /**
   * Listen until the returned function is called.
   * @param {Model} model
   * @param {(page: any) => void} restore takes the whole
   * @param {(message: any, columns: DataView[]) => boolean} take takes what changed; false when something before it is missing
   */
  open(model, restore, take) {
    const whole = () => {
      const page = model.get("page");
      if (!page?.status) return;
      restore(page);
      this.#hear(page);
    };
    const part = (/** @type {any} */ message, /** @type {DataView[]} */ buffers) => {
      if (!take(message, buffers ?? []) && Date.now() - this.#asked > 1000) {
        this.#asked = Date.now();
        model.send({ kind: "again" });
      }
      this.#hear(message);
    };
    const watch = setInterval(() => {
      const silent = Date.now() - this.#heard > SILENT_MS ? this.#heard : null;
      if (silent !== this.silentSince) {
        this.silentSince = silent;
        this.changed.tell();
      }
    }, 1000);
    whole();
    model.on("change:page", whole);
    model.on("msg:custom", part);
    return () => {
      clearInterval(watch);
      model.off("change:page", whole);
      model.off("msg:custom", part);
    };
  }

  /** @param {Partial<Told>} told */
  #hear(told) {
    this.#heard = Date.now();
    const isNews = this.silentSince !== null || told.status || told.notice !== undefined;
    this.silentSince = null;
    if (told.status) this.status = told.status;
    if (told.notice !== undefined) this.notice = told.notice;
    if (isNews) this.changed.tell();
  }
}

/** Bytes of a message, where a typed array can begin. @param {DataView | ArrayBuffer | Uint8Array} view @returns {ArrayBuffer} */
export function bytesOf(view) {
  if (view instanceof ArrayBuffer) return view;
  return /** @type {ArrayBuffer} */ (view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** @param {DataView} view */
export const jsonOf = (view) => JSON.parse(new TextDecoder().decode(bytesOf(view)));
