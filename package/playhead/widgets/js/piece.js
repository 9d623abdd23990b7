// A piece of a recording as it comes over the wire, is saved in a notebook or lies in a file: bytes into columns. Pure.
// The format is described in ../_tape.py.

const COLUMNS = /** @type {const} */ ({
  at: Int32Array, seq: Uint32Array, type: Uint16Array, place: Uint32Array, progress: Float32Array, step: Uint32Array,
  url: Uint32Array, error: Uint32Array, message: Uint32Array, batch: Uint32Array, goal: Uint32Array, siteName: Uint32Array,
  siteUrl: Uint32Array,
}); // prettier-ignore
export const TEXTS = /** @type {const} */ (["step", "url", "error", "message", "batch", "goal", "siteName", "siteUrl"]);
const NO_STEP = -(2 ** 31);

/**
 * @typedef {typeof TEXTS[number]} TextColumn
 * @typedef {[string | null, string | null]} Pair execution and job
 * @typedef {{first: number, n: number, firstPlace: number, places: Pair[], firstType: number, types: string[],
 *   at: Float64Array, seq: Float64Array, type: Uint16Array, place: Uint32Array, progress: Float32Array,
 *   texts: Record<TextColumn, Uint32Array | null>, lengths: Uint32Array, bytes: Uint8Array}} Piece
 *   times are microseconds since 1970, which a float64 holds exactly; of a text its number in the piece from 1 on, 0 for none
 */

/** Bytes of a message. @param {DataView | ArrayBuffer | Uint8Array} view @returns {Uint8Array<ArrayBuffer>} */
export function bytesOf(view) {
  if (view instanceof ArrayBuffer) return new Uint8Array(view);
  return new Uint8Array(/** @type {ArrayBuffer} */ (view.buffer), view.byteOffset, view.byteLength);
}

/**
 * What was deflated, if it was.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Uint8Array | Promise<Uint8Array>}
 */
export function unzipped(bytes) {
  if (bytes.length < 4 || String.fromCharCode(...bytes.subarray(0, 4)) !== "zlib") return bytes;
  const { readable, writable } = new DecompressionStream("deflate");
  const writer = writable.getWriter();
  const written = Promise.all([writer.write(bytes.subarray(4)), writer.close()]);
  return Promise.all([new Response(readable).arrayBuffer(), written]).then(([found]) => new Uint8Array(found));
}

/** @param {Uint8Array} bytes @returns {Piece} */
export function pieceOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + view.getUint32(0, true))));
  const { n } = header;
  let place = (4 + view.getUint32(0, true) + 7) & ~7;
  /** @param {number} length */
  const part = (length) => {
    const found = bytes.subarray(place, place + length);
    place += (length + 7) & ~7;
    return found;
  };
  /** @type {Record<string, any>} */
  const columns = {};
  for (const name of header.columns) {
    const Kind = COLUMNS[/** @type {keyof typeof COLUMNS} */ (name)];
    columns[name] = new Kind(together(part(n * Kind.BYTES_PER_ELEMENT), n, Kind.BYTES_PER_ELEMENT));
  }
  const count = header.texts.reduce((/** @type {number} */ sum, /** @type {number} */ one) => sum + one, 0);
  const lengths = new Uint32Array(part(4 * count).slice().buffer);
  const far = new Map(header.far);
  const at = new Float64Array(n);
  const seq = new Float64Array(n);
  for (let index = 0, us = header.base, number = header.seq; index < n; index++) {
    us += columns.at[index] === NO_STEP ? far.get(index) : columns.at[index];
    number += columns.seq[index];
    at[index] = us;
    seq[index] = number;
  }
  const texts = /** @type {Piece["texts"]} */ ({});
  let before = 0;
  TEXTS.forEach((name, which) => {
    texts[name] = columns[name] ? numbered(columns[name], before) : null;
    before += header.texts[which];
  });
  const { type, place: places, progress } = columns;
  return { ...header, at, seq, type, place: places, progress, texts, lengths, bytes: bytes.subarray(place) };
}

/** Values whose first bytes come first, then their second … @param {Uint8Array} planes @param {number} n @param {number} width */
function together(planes, n, width) {
  const found = new Uint8Array(n * width);
  for (let byte = 0; byte < width; byte++) {
    for (let index = 0, from = byte * n, to = byte; index < n; index++, to += width) found[to] = planes[from + index];
  }
  return found.buffer;
}

/** 1 is the column's next new text, more than that one that it had. @param {Uint32Array} column @param {number} before texts of other columns */
function numbered(column, before) {
  for (let index = 0, last = before; index < column.length; index++) {
    if (column[index] === 1) column[index] = ++last;
    else if (column[index]) column[index]--;
  }
  return column;
}
