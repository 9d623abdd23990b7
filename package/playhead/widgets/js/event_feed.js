// `EventFeed` in the page: what happened, newest first.
import { Reel } from "./reel.js";
import { feedOf, stage } from "./stage.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const reel = new Reel();
  return {
    /** @param {Context} context */
    initialize: ({ model }) => reel.open(model),
    /** @param {Context} context */
    render({ model, el }) {
      /** @type {import("./feed.js").FeedView} */
      let feed;
      const { leave } = stage(el, reel, "event-feed", model.get("batch_id") ?? "All batches", (root) => [(feed = feedOf(root, reel.deck, model.get("max_display")))]);
      const resize = () => feed.show(model.get("max_display"));
      model.on("change:max_display", resize);
      return () => {
        leave();
        model.off("change:max_display", resize);
      };
    },
  };
};
