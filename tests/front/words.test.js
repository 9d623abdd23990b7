// How a connection, a length of time and a moment are told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, connectionWords, count, duration, moment } from "../../package/playhead/widgets/js/words.js";

const status = { state: "connected", transport: "websocket", attempt: 0, since: 1e12, detail: "", url: "http://h:1", interval: 5, lag: 0 };

test("a connection is told by state, glyph and words, with the facts in the tooltip", () => {
  const words = connectionWords(status);
  assert.deepEqual([words.state, words.glyph, words.short], ["connected", "●", "live"]);
  assert.match(words.title, /http:\/\/h:1\nconnected since .* by WebSocket/);
});

test("polling says how often", () => {
  assert.equal(connectionWords({ ...status, transport: "polling" }).short, "polling every 5 s");
});

test("reconnecting says the attempt, disconnected what to do", () => {
  const trying = connectionWords({ ...status, state: "reconnecting", attempt: 3, detail: "refused" });
  assert.deepEqual([trying.glyph, trying.short, trying.long], ["◐", "reconnecting (3)", "refused"]);
  const gone = connectionWords({ ...status, state: "disconnected", detail: "refused; is the server running? `playhead serve` starts one" });
  assert.equal(gone.short, `disconnected since ${clock(1e12)}`);
  assert.match(gone.long, /playhead serve/);
});

test("a kernel that is not heard makes nothing green", () => {
  const words = connectionWords(status, 1e12);
  assert.equal(words.state, "disconnected");
  assert.match(words.short, /^kernel stopped - last state 2001-09-09 \d\d:46$/);
  assert.match(connectionWords(status, Date.now()).short, /^kernel stopped - last state \d\d:\d\d:\d\d$/);
});

test("what lags says by how much, what was saved says so", () => {
  assert.equal(connectionWords({ ...status, lag: 1234 }).lag, ", 1,234 events behind");
  const saved = connectionWords({ ...status, state: "saved" }, 1e12);
  assert.deepEqual([saved.state, saved.glyph], ["saved", "■"]);
  assert.match(saved.short, /^saved /);
});

test("lengths of time and moments", () => {
  assert.deepEqual([0, 12.4, 999.7, 1234, 59_949, 59_960, 61_000, 3_600_000, 3_725_000].map(duration),
    ["0 ms", "12 ms", "1.0 s", "1.2 s", "59.9 s", "1:00", "1:01", "1:00:00", "1:02:05"]); // prettier-ignore
  assert.equal(moment(1_763_935_200_123_456), "2025-11-23 22:00:00.123 UTC");
  assert.deepEqual([count(1, "execution"), count(12_345, "execution")], ["1 execution", "12,345 executions"]);
});
