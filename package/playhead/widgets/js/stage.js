// The parts that widgets over a recording are put together from: views of one deck, drawn when it changes.
import { h } from "./elements.js";
import { FeedView } from "./feed.js";
import { GanttView } from "./gantt.js";
import { GridView } from "./grid.js";
import { header } from "./light.js";

/**
 * @typedef {import("./reel.js").Reel} Reel
 * @typedef {import("./channel.js").Model} Model
 * @typedef {{ask(): void, stop(): void}} View
 * @typedef {{root: HTMLElement, leave: () => void}} Stage
 */

/**
 * A widget's root with its head; views are drawn whenever the deck has changed.
 * @param {HTMLElement} el
 * @param {Reel} reel
 * @param {string} name
 * @param {string} title
 * @param {(root: HTMLElement) => View[]} build
 * @returns {Stage}
 */
export function stage(el, reel, name, title, build) {
  const root = h("div", { class: "ph", "data-playhead": name });
  el.append(root);
  const leave = header(root, reel.channel, title, "connected"); // "live" is said of the marker here
  const views = build(root);
  const stop = reel.deck.changed.listen(() => views.forEach((view) => view.ask()));
  views.forEach((view) => view.ask());
  const again = reel.channel.changed.listen(() => views.forEach((view) => view.ask()));
  return {
    root,
    leave: () => {
      leave();
      stop();
      again();
      views.forEach((view) => view.stop());
    },
  };
}

/**
 * What a grid needs of a deck.
 * @typedef {{tape: import("./tape.js").Tape, selected: number, select(place: number): void, marker: {at: number}}} Side
 */

/** A grid over a deck. @param {HTMLElement} root @param {Side} deck @param {number} most @param {string} empty */
export function gridOf(root, deck, most, empty) {
  return new GridView(
    root,
    {
      rows: () => deck.tape,
      selected: () => deck.selected,
      select: (place) => deck.select(place),
      story: (place) => {
        const indexes = [...deck.tape.eventsOf(place)];
        return { count: indexes.length, events: () => told(deck.tape, indexes), note: "" };
      },
      now: () => (deck.tape.length ? deck.marker.at : null),
    },
    most,
    empty,
  );
}

/** @param {import("./tape.js").Tape} tape @param {number[]} indexes */
function* told(tape, indexes) {
  for (const index of indexes) yield tape.eventAt(index);
}

/** @param {HTMLElement} root @param {import("./deck.js").Deck} deck @param {number} most */
export const feedOf = (root, deck, most) => new FeedView(root, deck, most);

/** @param {HTMLElement} root @param {import("./deck.js").Deck} deck @param {number} height */
export const ganttOf = (root, deck, height) => new GanttView(root, deck, height);
