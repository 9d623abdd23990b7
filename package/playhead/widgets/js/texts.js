// Texts as they came, in UTF-8, told apart by number and made into strings when they are drawn. Pure.

const KEPT = 20_000; // strings at hand

export class Texts {
  /** How many; number 0 is none. */
  length = 1;
  #ends = new Float64Array(1024);
  #bytes = new Uint8Array(4096);
  #strings = new Map();
  #decoder = new TextDecoder();

  /** Put texts at the end; the first has the number that `length` was. @param {Uint32Array} lengths @param {Uint8Array} bytes */
  append(lengths, bytes) {
    let end = this.#ends[this.length - 1];
    this.#ends = room(this.#ends, this.length + lengths.length);
    this.#bytes = room(this.#bytes, end + bytes.length);
    this.#bytes.set(bytes, end);
    for (const length of lengths) this.#ends[this.length++] = end += length;
  }

  /** @param {number} number @returns {string} "" for none */
  at(number) {
    if (!number) return "";
    let text = this.#strings.get(number);
    if (text === undefined) {
      text = this.#decoder.decode(this.#bytes.subarray(this.#ends[number - 1], this.#ends[number]));
      if (this.#strings.size >= KEPT) this.#strings.clear();
      this.#strings.set(number, text);
    }
    return text;
  }
}

/**
 * An array with room for so many, and as many again.
 * @template {Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array | Int32Array} T
 * @param {T} array
 * @param {number} length
 * @returns {T}
 */
export function room(array, length) {
  if (length <= array.length) return array;
  const wider = new /** @type {any} */ (array.constructor)(Math.max(2 * array.length, Math.ceil(length * 1.25)));
  wider.set(array);
  return wider;
}
