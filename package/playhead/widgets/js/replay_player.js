// `ReplayPlayer` in the page: it holds the recording, so that moving the marker needs no kernel.
import { Reel } from "./reel.js";
import { gridOf, stage } from "./stage.js";
import { Track } from "./track.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const reel = new Reel();
  return {
    /** @param {Context} context */
    initialize: ({ model }) => reel.open(model),
    render: kept(({ model, el }) => {
      /** @type {import("./grid.js").GridView} */
      let grid;
      const { leave, root } = stage(el, reel, "replay-player", model.get("batch_id") ?? "All batches", (root) => {
        const track = new Track(root, reel.deck);
        grid = gridOf(root, reel.deck, model.get("max_display"), "Nothing had happened yet");
        return [track, grid];
      });
      const resize = () => grid.show(model.get("max_display"));
      model.on("change:max_display", resize);
      const over = () => {
        leave();
        model.off("change:max_display", resize);
      };
      return { root, leave: over };
    }),
  };
};
