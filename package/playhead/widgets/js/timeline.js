// `Timeline` in the page: executions as bars over time, at the marker.
import { Reel } from "./reel.js";
import { ganttOf, stage } from "./stage.js";
import { Track } from "./track.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const reel = new Reel();
  return {
    /** @param {Context} context */
    initialize: ({ model }) => reel.open(model),
    render: kept(({ model, el }) => {
      /** @type {import("./gantt.js").GanttView} */
      let gantt;
      const { leave, root } = stage(el, reel, "timeline", model.get("batch_id") ?? "All batches", (root) => {
        const track = new Track(root, reel.deck);
        gantt = ganttOf(root, reel.deck, model.get("height"));
        return [track, gantt];
      });
      const resize = () => gantt.show(model.get("height"));
      model.on("change:height", resize);
      const over = () => {
        leave();
        model.off("change:height", resize);
      };
      return { root, leave: over };
    }),
  };
};
