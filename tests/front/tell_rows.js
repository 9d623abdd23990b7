// Reads a line {"pieces": [base64…], "positions": [n…]} at a time and tells the rows that the page has there: for tests/test_tape.py.
import { createInterface } from "node:readline";
import { pieceOf, unzipped } from "../../package/playhead/widgets/js/piece.js";
import { NONE } from "../../package/playhead/widgets/js/rules.js";
import { Tape } from "../../package/playhead/widgets/js/tape.js";

/** Its rows as they are, in order of place. @param {Tape} tape */
function rows(tape) {
  const found = [];
  for (let place = 0; place < tape.places; place++) {
    if (tape.stateOf(place) !== NONE) found.push({ ...tape.rowAt(place), seqs: [...tape.eventsOf(place)].map((index) => tape.eventAt(index).seq) });
  }
  return { rows: found, counts: [...tape.counts], size: tape.size };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { pieces, positions, batch } = JSON.parse(line);
  let tape = new Tape();
  for (const piece of pieces) {
    if (!tape.append(pieceOf(await unzipped(new Uint8Array(Buffer.from(piece, "base64")))))) throw new Error("a gap");
  }
  if (batch) tape = tape.only(batch);
  const told = [];
  for (const position of positions) {
    tape.seek(Math.min(position, tape.length));
    told.push(rows(tape));
  }
  console.log(JSON.stringify(told));
}
