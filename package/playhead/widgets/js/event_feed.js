// `EventFeed` in the page: what happened, newest first.
import { Reel } from "./reel.js";
import { feedOf, stage } from "./stage.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const reel = new Reel();
  return {
    /** @param {Context} context */
    initialize: ({ model }) => reel.open(model),
    render: kept(({ model, el }) => {
      /** @type {import("./feed.js").FeedView} */
      let feed;
      const { leave, root } = stage(el, reel, "event-feed", model.get("batch_id") ?? "All batches", (root) => [(feed = feedOf(root, reel.deck, model.get("max_display")))]);
      const resize = () => feed.show(model.get("max_display"));
      model.on("change:max_display", resize);
      const over = () => {
        leave();
        model.off("change:max_display", resize);
      };
      return { root, leave: over };
    }),
  };
};
