// The recording in the page and its marker. What its rows are at a position, tests/test_tape.py holds to the rules in Python.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Lanes } from "../../package/playhead/widgets/js/lanes.js";
import { Marker } from "../../package/playhead/widgets/js/marker.js";
import { Pair } from "../../package/playhead/widgets/js/pair.js";
import { Tape } from "../../package/playhead/widgets/js/tape.js";
import { history, piece, tapeOf } from "./making.js";

test("a piece that is known is skipped, one after a gap is refused", () => {
  const tape = new Tape();
  const [one, two] = [[[0, "a", "job_started"], [10, "b", "job_started"]], [[20, "a", "job_completed"]]];
  const first = piece(one);
  const second = piece(two, 2, first.known);
  assert.equal(tape.append(second), false);
  assert.equal(tape.append(first), true);
  assert.equal(tape.append(piece([...one, ...two])), true);
  assert.equal(tape.append(second), true);
  tape.seek(3);
  assert.deepEqual([tape.length, tape.size, tape.counts], [3, 2, [0, 1, 1, 0, 0]]);
});

test("a time is after every event that happened at it, and never runs backwards", () => {
  const tape = tapeOf([[0, "a", "job_started"], [10, "b", "job_started"], [5, "c", "job_started"], [20, "a", "job_completed"]]);
  assert.deepEqual([-1, 0, 9, 10, 19, 20, 99].map((at) => tape.countAt(at)), [0, 1, 1, 3, 3, 4, 4]);
  assert.deepEqual([tape.whenOf(2), tape.eventAt(2).at], [10, 5]);
});

test("a quarter of a million events are sought in well under a frame", () => {
  const tape = new Tape();
  let known = { pairs: [], types: [] };
  // names are looked up one by one in a test's piece: a few jobs stand for many
  const many = Array.from({ length: 250_000 }, (_, n) => [n * 10, `job ${(n * 7919) % 500}`, n % 9 ? "job_progress" : "job_started"]);
  for (let first = 0; first < many.length; first += 50_000) {
    const one = piece(many.slice(first, first + 50_000), first, known);
    known = one.known;
    tape.append(one);
  }
  const begun = performance.now();
  for (let turn = 0; turn < 200; turn++) tape.seek((turn * 104_729) % 250_000);
  assert.ok((performance.now() - begun) / 200 < 8);
});

test("batches and failures are where they begin", () => {
  const tape = tapeOf(history(25));
  assert.deepEqual([...tape.batches.keys()], ["batch 0", "batch 1", "batch 2"]);
  assert.equal(tape.failures.length, 5);
  assert.equal(tape.boundaries.length, 3);
  const { events, failures } = tape.profile(10);
  assert.equal(events.reduce((sum, one) => sum + one), 75);
  assert.ok(failures.some(Boolean));
});

test("the right end is live, anywhere else the past", () => {
  const events = [[0, "a", "job_started"], [1_000_000, "a", "job_completed"]];
  const first = piece(events);
  const tape = new Tape();
  tape.append(first);
  const marker = new Marker(tape);
  assert.equal(marker.isLive, true);
  marker.seek(400_000);
  assert.deepEqual([marker.isLive, marker.at, marker.share, marker.position], [false, 400_000, 0.4, 1]);
  tape.append(piece([[2_000_000, "b", "job_started"]], 2, first.known));
  assert.equal(marker.at, 400_000);
  marker.seek(2_000_000);
  assert.deepEqual([marker.isLive, marker.position], [true, 3]);
});

test("pause resumes exactly where it paused, at any speed", () => {
  const marker = new Marker(tapeOf([[0, "a", "job_started"], [60_000_000, "a", "job_completed"]]));
  marker.skipsIdle = false;
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

test("an idle stretch is skipped to shortly before its end, and no event is passed by", () => {
  const tape = tapeOf([[0, "a", "job_started"], [1e6, "a", "job_progress"], [3600e6, "a", "job_completed"], [3601e6, "b", "job_started"]]);
  const marker = new Marker(tape);
  marker.play();
  const seen = [];
  for (let turn = 0; turn < 200 && marker.isPlaying; turn++) {
    marker.tick(33);
    seen.push(marker.position);
  }
  assert.deepEqual([...new Set(seen)], [1, 2, 3, 4]);
  assert.equal(marker.isLive, true);
});

test("standing still keeps the newest moment while events go on", () => {
  const first = piece([[0, "a", "job_started"], [100, "a", "job_progress"]]);
  const tape = new Tape();
  tape.append(first);
  const marker = new Marker(tape);
  marker.freeze();
  tape.append(piece([[200, "a", "job_completed"]], 2, first.known));
  assert.deepEqual([marker.isLive, marker.at, marker.position], [false, 100, 2]);
});

test("a step is one event, of several at one moment too; failures are jumped to both ways", () => {
  const tape = tapeOf([[0, "a", "job_started"], [5, "b", "job_started"], [5, "a", "job_failed"], [5, "c", "job_started"], [9, "b", "job_failed"]]);
  const marker = new Marker(tape);
  const positions = [];
  for (let turn = 0; turn < 6; turn++) positions.push((marker.step(-1), marker.position));
  assert.deepEqual(positions, [4, 3, 2, 1, 1, 1]);
  assert.equal(marker.toFailure(1), true);
  assert.equal(marker.position, 3);
  assert.equal(marker.toFailure(1), true);
  assert.deepEqual([marker.position, marker.isLive], [5, false]);
  assert.equal(marker.toFailure(1), false);
  assert.equal(marker.toFailure(-1), true);
  assert.equal(marker.position, 3);
});

test("attempts that run at once lie in different lanes, and no more lanes are taken than that", () => {
  const tape = tapeOf(history(300, 7));
  const lanes = new Lanes();
  lanes.extend(tape);
  const taken = new Map();
  tape.attempts.forEach((attempt, which) => {
    const before = taken.get(lanes.of[which]);
    assert.ok(before === undefined || tape.attempts[before].ended < attempt.first);
    taken.set(lanes.of[which], which);
  });
  assert.equal(lanes.count, 7);
});

test("two batches are aligned at their start and go on together", () => {
  const whole = tapeOf([[0, "a", "job_started", { batch: "p" }], [10, "b", "job_started", { batch: "q" }], [12, "b", "job_failed", { batch: "q" }],
    [20, "a", "job_completed", { batch: "p" }], [50, "a", "job_started", { batch: "q" }]]); // prettier-ignore
  const sides = [whole.only("p"), whole.only("q")];
  const pair = new Pair(sides);
  assert.deepEqual([pair.length, pair.end, pair.failures], [5, 40, [2]]);
  pair.seek(pair.countAt(2));
  assert.deepEqual(sides.map((side) => side.counts), [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]);
  pair.seek(pair.length);
  assert.deepEqual(sides.map((side) => side.position), [2, 3]);
});
