// `ReplayPlayer.compare` in the page: two batches or executions side by side, aligned at their start, under one marker.
import { h } from "./elements.js";
import { Pair } from "./pair.js";
import { Reel } from "./reel.js";
import { gridOf, stage } from "./stage.js";
import { Track } from "./track.js";
import { duration } from "./words.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const reel = new Reel();
  const { deck } = reel;
  /** @type {import("./tape.js").Tape[]} */
  let tapes = [];
  /** Places that are open, one a side. */
  const open = [-1, -1];
  return {
    /** @param {Context} context */
    initialize({ model }) {
      deck.tapeOf = () => {
        open.fill(-1);
        tapes = model.get("sides").map((/** @type {string} */ id) => deck.whole.only(id, model.get("by") === "execution"));
        return /** @type {any} */ (new Pair(/** @type {[any, any]} */ (tapes)));
      };
      deck.pick("");
      return reel.open(model);
    },
    render: kept(({ model, el }) => {
      const [one, other] = model.get("sides");
      /** @type {import("./grid.js").GridView[]} */
      const grids = [];
      const { leave, root } = stage(el, reel, "comparison", `${one} and ${other}, aligned at their start`, (root) => {
        const track = new Track(root, deck, (us) => `+ ${duration(us / 1000)}`);
        const sides = root.appendChild(h("div", { class: "ph-sides" }));
        [one, other].forEach((id, which) => {
          const section = sides.appendChild(h("section", { "aria-label": id, "data-side": id }, h("div", { class: "ph-title", title: id }, id)));
          const side = {
            get tape() {
              return tapes[which];
            },
            get selected() {
              return open[which];
            },
            select: (/** @type {number} */ place) => {
              open[which] = place;
              deck.changed.tell();
            },
            marker: {
              get at() {
                return tapes[which].begin + deck.marker.at;
              },
            },
          };
          grids.push(gridOf(section, side, model.get("max_display"), "Nothing had happened yet"));
        });
        return [track, ...grids];
      });
      const resize = () => grids.forEach((grid) => grid.show(model.get("max_display")));
      model.on("change:max_display", resize);
      const over = () => {
        leave();
        model.off("change:max_display", resize);
      };
      return { root, leave: over };
    }),
  };
};
