// Recordings to test with: pieces as they are once their bytes are read.
import { TEXTS } from "../../package/playhead/widgets/js/piece.js";
import { Tape } from "../../package/playhead/widgets/js/tape.js";

/** Events as [at, job, type, {step, error, batch …}], and the piece that carries them. */
export function piece(events, first = 0, before = { pairs: [], types: [] }) {
  const pairs = [...before.pairs];
  const types = [...before.types];
  const texts = [];
  const numbered = (list, value) => (list.includes(value) || list.push(value), list.indexOf(value));
  const place = events.map(([, job]) => numbered(pairs, job));
  const type = events.map(([, , kind]) => numbered(types, kind));
  const column = (name) => Uint32Array.from(events, ([, , , told = {}]) => (told[name] ? numbered(texts, told[name]) + 1 : 0));
  const columns = Object.fromEntries(TEXTS.map((name) => [name, column(name)]));
  const encoded = texts.map((text) => new TextEncoder().encode(text));
  return {
    first, n: events.length, firstPlace: before.pairs.length, places: pairs.slice(before.pairs.length).map((job) => ["x", job]),
    firstType: before.types.length, types: types.slice(before.types.length),
    at: Float64Array.from(events, ([at]) => at), seq: Float64Array.from(events, (_, index) => first + index + 1),
    type: Uint16Array.from(type), place: Uint32Array.from(place),
    progress: Float32Array.from(events, ([, , , told = {}]) => told.progress ?? NaN), texts: columns,
    lengths: Uint32Array.from(encoded, (text) => text.length), bytes: Uint8Array.from(encoded.flatMap((text) => [...text])),
    known: { pairs, types },
  }; // prettier-ignore
}

export function tapeOf(events) {
  const tape = new Tape();
  tape.append(piece(events));
  tape.seek(tape.length);
  return tape;
}

/** Jobs one after another, some at once, every fifth fails; the same each time. */
export function history(jobs, atOnce = 3) {
  const events = [];
  for (let n = 0; n < jobs; n++) {
    const batch = `batch ${Math.floor(n / 10)}`;
    const begin = n * 1000;
    events.push([begin, `job ${n}`, "job_started", { batch, goal: `goal ${n % 3}` }]);
    events.push([begin + 400, `job ${n}`, "job_progress", { batch, progress: (n * 7) % 100, step: `step ${n % 4}` }]);
    events.push([begin + 1000 * atOnce - 100, `job ${n}`, n % 5 === 4 ? "job_failed" : "job_completed", n % 5 === 4 ? { batch, error: `timeout ${n}` } : { batch }]);
  }
  return events.sort(([one], [other]) => one - other);
}
