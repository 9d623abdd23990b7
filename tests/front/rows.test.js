// The rows of a grid: restoring, changes, gaps; order, search, filters and groups.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Viewer, everything, orderOf } from "../../package/playhead/widgets/js/order.js";
import { RowStore } from "../../package/playhead/widgets/js/row_store.js";
import { history, tapeOf } from "./making.js";

const now = (state, progress = null) => [state, progress, null, null, null, 1, null, null, null, 1];
const names = (job) => ["x", job, "b", null, null, null];
const whole = (...rows) => {
  const flat = rows.map(([job, ...rest]) => [...now(...rest), ...names(job)]);
  return Array.from({ length: 16 }, (_, part) => flat.map((row) => row[part]));
};

test("changes after the whole give the rows as they are", () => {
  const rows = new RowStore();
  rows.restore(0, 4, whole(["a", 1], ["b", 0]));
  assert.equal(rows.take(0, 5, [[1, now(1, 10)], [2, now(3), names("c")]]), true);
  assert.deepEqual([rows.size, rows.counts], [3, [0, 2, 0, 1, 0]]);
  assert.deepEqual([rows.rowAt(1).progress, rows.rowAt(1).job, rows.rowAt(2).job], [10, "b", "c"]);
  const again = new RowStore();
  again.restore(0, 5, rows.columns());
  assert.deepEqual([0, 1, 2].map((place) => again.rowAt(place)), [0, 1, 2].map((place) => rows.rowAt(place)));
});

test("what is older than the whole changes nothing", () => {
  const rows = new RowStore();
  rows.restore(0, 4, whole(["a", 2]));
  assert.equal(rows.take(0, 4, [[0, now(1)]]), true);
  rows.restore(0, 3, whole(["a", 1]));
  assert.equal(rows.stateOf(0), 2);
});

test("a missing message is noticed, and the whole makes it good", () => {
  const rows = new RowStore();
  rows.restore(0, 1, whole(["a", 1]));
  assert.equal(rows.take(0, 3, [[0, now(2)], [7, now(1), names("h")]]), false);
  assert.deepEqual([rows.stateOf(0), rows.size], [2, 1]);
  assert.equal(rows.isAt(0, 3), false);
  rows.restore(0, 3, whole(["a", 2], ["b", 1]));
  assert.equal(rows.take(0, 4, [[1, now(2)]]), true);
  assert.equal(rows.isAt(0, 4), true);
});

test("another log begins afresh, and nothing of the old one is mixed in", () => {
  const rows = new RowStore();
  rows.restore(0, 9, whole(["old", 1], ["older", 2]));
  assert.equal(rows.take(1, 1, [[0, now(0), names("new")]]), true);
  assert.deepEqual([rows.size, rows.counts], [1, [1, 0, 0, 0, 0]]);
  assert.equal(rows.take(0, 10, [[1, now(2), names("old")]]), true);
  assert.equal(rows.size, 1);
});

test("failed and active come first, and rows stay put while others come", () => {
  const rows = new RowStore();
  const states = [2, 1, 3, 0, 1, 4, 3, 2];
  rows.restore(0, 1, whole(...states.map((state, place) => [`job ${place}`, state])));
  assert.deepEqual([...orderOf(rows)], [6, 2, 1, 4, 3, 5, 7, 0]);
  rows.take(0, 2, [[8, now(1), names("one more")]]);
  assert.deepEqual([...orderOf(rows)].slice(0, 5), [6, 2, 1, 4, 8]);
});

test("progress does not ask for a new order, a state does", () => {
  const rows = new RowStore();
  rows.restore(0, 1, whole(["a", 1, 1]));
  const before = rows.orderVersion;
  rows.take(0, 2, [[0, now(1, 2)]]);
  assert.equal(rows.orderVersion, before);
  rows.take(0, 3, [[0, now(2, 100)]]);
  assert.notEqual(rows.orderVersion, before);
});

test("a search looks for each word in names, steps and errors of the rows as they are; states narrow it", () => {
  const tape = tapeOf(history(40));
  const viewer = new Viewer();
  const jobs = (query) => [...viewer.view(tape, { ...everything(), ...query }).entries].map((place) => tape.rowAt(place).job);
  assert.deepEqual(jobs({ search: "TIMEOUT 19" }), ["job 19"]);
  assert.deepEqual(jobs({ search: "batch nothing" }), []);
  assert.deepEqual(jobs({ search: "goal 2", states: new Set([3]) }).sort(), ["job 14", "job 24", "job 29", "job 34"]);
  tape.seek(tape.countAt(5000));
  assert.deepEqual(jobs({ search: "timeout" }), []);
  assert.deepEqual(jobs({ states: new Set([1]) }), ["job 3", "job 4", "job 5"]);
});

test("rows are sorted by what is asked", () => {
  const tape = tapeOf(history(12));
  const sorted = (sort) => [...new Viewer().view(tape, { ...everything(), sort }).entries].map((place) => tape.rowAt(place));
  assert.deepEqual(sorted("job").map((row) => row.job).slice(0, 3), ["job 0", "job 1", "job 2"]);
  assert.equal(sorted("newest")[0].job, "job 11");
  const progress = sorted("progress").map((row) => row.progress);
  assert.deepEqual(progress, [...progress].sort((one, other) => other - one));
});

test("groups are batches, newest first, each with its counts; a folded one keeps only its head", () => {
  const tape = tapeOf(history(25));
  const shown = new Viewer().view(tape, { ...everything(), isGrouped: true, folded: new Set(["batch 1"]) });
  assert.deepEqual(shown.groups.map((group) => [group.batch, group.size]), [["batch 2", 5], ["batch 1", 10], ["batch 0", 10]]);
  assert.equal(shown.entries.length, 3 + 15);
  assert.deepEqual([shown.entries[0], shown.entries[6], shown.entries[7]], [-1, -2, -3]);
  assert.equal(shown.matching, 25);
});
