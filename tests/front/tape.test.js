// The recording in the browser and its marker.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Marker } from "../../package/playhead/widgets/js/marker.js";
import { Tape } from "../../package/playhead/widgets/js/tape.js";

/** Changes as [at, place, state, progress, error], and the piece that carries them. */
function piece(changes, first = 0, firstText = 1) {
  const texts = changes.flatMap(([, place, , , error]) => [`job ${place}`, error ?? ""]);
  const column = (Kind, value) => new Kind(changes.map(value)).buffer;
  const text = (offset) => (_, index) => firstText + 2 * index + offset;
  return [
    { first, firstText, texts },
    [
      column(Float64Array, (c) => c[0]), column(Uint32Array, (c) => c[1]), column(Uint8Array, (c) => c[2]),
      column(Uint32Array, () => 1), column(Float32Array, (c) => c[3] ?? NaN), column(Float64Array, () => NaN),
      column(Uint32Array, text(0)), column(Uint32Array, () => 0), column(Uint32Array, () => 0), column(Uint32Array, text(1)),
    ],
  ];
}

/** Many changes of many rows, the same each time. */
function long(n, places) {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  return Array.from({ length: n }, (_, index) => [1000 + index * 10, Math.min(random(places), index), random(5), random(101)]);
}

/** The rows after so many changes, by the slow way. */
function slow(changes, n) {
  const rows = [];
  for (const [, place, state, progress] of changes.slice(0, n)) rows[place] = [state, progress];
  return rows;
}

function shown(tape) {
  return Array.from({ length: tape.size }, (_, place) => (tape.keyOf(place) < 0 ? undefined : [tape.stateOf(place), tape.rowAt(place).progress]));
}

test("any position, forwards or backwards, shows the rows as they were", () => {
  const changes = dense(long(20_000, 50));
  const tape = new Tape();
  tape.append(...piece(changes));
  let position = 3;
  for (let turn = 0; turn < 60; turn++) {
    position = (position * 7919 + 104_729) % 20_001;
    tape.seek(position);
    const wanted = slow(changes, position);
    assert.deepEqual(shown(tape), wanted);
    const counts = [0, 0, 0, 0, 0];
    for (const [state] of wanted) counts[state]++;
    assert.deepEqual(tape.counts, counts);
  }
});

/** Places appear in order, as the kernel gives them out. */
function dense(changes) {
  const places = new Map();
  return changes.map(([at, place, ...rest]) => {
    if (!places.has(place)) places.set(place, places.size);
    return [at, places.get(place), ...rest];
  });
}

test("pieces of any size make the same recording as one", () => {
  const changes = dense(long(9_000, 30));
  const tape = new Tape();
  for (let first = 0, size = 1; first < changes.length; first += size, size = (size * 3) % 700 || 1) {
    size = Math.min(size, changes.length - first);
    assert.equal(tape.append(...piece(changes.slice(first, first + size), first, 1 + 2 * first)), true);
  }
  tape.seek(9_000);
  assert.deepEqual(shown(tape), slow(changes, 9_000));
});

test("a piece that is known is skipped, one after a gap is refused", () => {
  const changes = dense(long(100, 5));
  const tape = new Tape();
  tape.append(...piece(changes.slice(0, 60)));
  assert.equal(tape.append(...piece(changes.slice(70), 70, 141)), false);
  assert.equal(tape.length, 60);
  assert.equal(tape.append(...piece(changes.slice(0, 60))), true);
  assert.equal(tape.append(...piece(changes)), true);
  assert.equal(tape.length, 100);
  tape.seek(100);
  assert.deepEqual(shown(tape), slow(changes, 100));
});

test("the track knows when something failed, once for each failure", () => {
  const tape = new Tape();
  tape.append(...piece([[0, 0, 1], [10, 0, 3, null, "no"], [20, 0, 3], [30, 1, 1], [100, 1, 3]]));
  assert.deepEqual(tape.failures, [10, 100]);
  assert.deepEqual([...tape.profile(10).failures], [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
  assert.deepEqual([...tape.profile(2).events], [4, 1]);
});

test("a time is after every change that happened at it", () => {
  const tape = new Tape();
  tape.append(...piece([[0, 0, 1], [10, 0, 1], [10, 1, 1], [20, 1, 2]]));
  assert.deepEqual([-1, 0, 9, 10, 19, 20, 99].map((at) => tape.countAt(at)), [0, 1, 1, 3, 3, 4, 4]);
});

test("a quarter of a million changes are sought in well under a frame", () => {
  const changes = dense(long(250_000, 10_000));
  const tape = new Tape();
  tape.append(...piece(changes));
  const begun = performance.now();
  for (let turn = 0; turn < 200; turn++) tape.seek((turn * 104_729) % 250_000);
  assert.ok((performance.now() - begun) / 200 < 8);
});

test("the right end is live, anywhere else the past", () => {
  const tape = new Tape();
  tape.append(...piece([[0, 0, 1], [1_000_000, 0, 2]]));
  const marker = new Marker(tape);
  assert.equal(marker.isLive, true);
  marker.seek(400_000);
  assert.deepEqual([marker.isLive, marker.at, marker.share], [false, 400_000, 0.4]);
  tape.append(...piece([[2_000_000, 0, 2]], 2, 5));
  assert.equal(marker.at, 400_000);
  marker.seek(2_000_000);
  assert.equal(marker.isLive, true);
});

test("pause resumes exactly where it paused, at any speed", () => {
  const tape = new Tape();
  tape.append(...piece([[0, 0, 1], [60_000_000, 0, 2]]));
  const marker = new Marker(tape);
  marker.play();
  assert.equal(marker.at, 0);
  marker.tick(1500);
  marker.pause();
  marker.tick(1000);
  assert.equal(marker.at, 1_500_000);
  marker.speed = 0.1;
  marker.play();
  marker.tick(1000);
  assert.equal(marker.at, 1_600_000);
  marker.speed = 1000;
  marker.tick(1000);
  assert.deepEqual([marker.isLive, marker.isPlaying], [true, false]);
});

test("standing still keeps the newest moment while events go on", () => {
  const tape = new Tape();
  tape.append(...piece([[0, 0, 1], [100, 0, 1]]));
  const marker = new Marker(tape);
  marker.freeze();
  tape.append(...piece([[200, 0, 2]], 2, 5));
  assert.deepEqual([marker.isLive, marker.at], [false, 100]);
});
