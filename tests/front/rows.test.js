// The rows of a live grid: restoring, changes, gaps, order.
import assert from "node:assert/strict";
import { test } from "node:test";
import { orderOf } from "../../package/playhead/widgets/js/order.js";
import { RowStore } from "../../package/playhead/widgets/js/row_store.js";

const row = (job, state, progress = null) => [job, state, progress, null, null, null, 1, null];

test("changes after the whole give the rows as they are", () => {
  const rows = new RowStore();
  rows.restore(0, 4, [row("a", 1), row("b", 0)]);
  assert.equal(rows.take(0, 5, [[1, row("b", 1, 10)], [2, row("c", 3)]]), true);
  assert.deepEqual([rows.size, rows.counts], [3, [0, 2, 0, 1, 0]]);
  assert.equal(rows.rowAt(1).progress, 10);
});

test("what is older than the whole changes nothing", () => {
  const rows = new RowStore();
  rows.restore(0, 4, [row("a", 2)]);
  assert.equal(rows.take(0, 4, [[0, row("a", 1)]]), true);
  rows.restore(0, 3, [row("a", 1)]);
  assert.equal(rows.stateOf(0), 2);
});

test("a missing message is noticed, and the whole makes it good", () => {
  const rows = new RowStore();
  rows.restore(0, 1, [row("a", 1)]);
  assert.equal(rows.take(0, 3, [[0, row("a", 2)], [7, row("h", 1)]]), false);
  assert.deepEqual([rows.stateOf(0), rows.size], [2, 1]);
  assert.equal(rows.isAt(0, 3), false);
  rows.restore(0, 3, [row("a", 2), row("b", 1)]);
  assert.equal(rows.take(0, 4, [[1, row("b", 2)]]), true);
  assert.equal(rows.isAt(0, 4), true);
});

test("another log begins afresh, and nothing of the old one is mixed in", () => {
  const rows = new RowStore();
  rows.restore(0, 9, [row("old", 1), row("older", 2)]);
  assert.equal(rows.take(1, 1, [[0, row("new", 0)]]), true);
  assert.deepEqual([rows.size, rows.counts], [1, [1, 0, 0, 0, 0]]);
  assert.equal(rows.take(0, 10, [[1, row("old", 2)]]), true);
  assert.equal(rows.size, 1);
});

test("failed and active come first, and rows stay put while others come", () => {
  const rows = new RowStore();
  const states = [2, 1, 3, 0, 1, 4, 3, 2];
  rows.restore(0, 1, states.map((state, place) => row(`job ${place}`, state)));
  assert.deepEqual([...orderOf(rows)], [6, 2, 1, 4, 3, 5, 7, 0]);
  rows.take(0, 2, [[8, row("one more", 1)]]);
  assert.deepEqual([...orderOf(rows)].slice(0, 5), [6, 2, 1, 4, 8]);
});

test("progress does not ask for a new order, a state does", () => {
  const rows = new RowStore();
  rows.restore(0, 1, [row("a", 1, 1)]);
  const before = rows.orderVersion;
  rows.take(0, 2, [[0, row("a", 1, 2)]]);
  assert.equal(rows.orderVersion, before);
  rows.take(0, 3, [[0, row("a", 2, 100)]]);
  assert.notEqual(rows.orderVersion, before);
});
