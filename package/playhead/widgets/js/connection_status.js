// `ConnectionStatus` in the page: a banner that hides when all is well, or a dot.
import { Channel } from "./channel.js";
import { h, say, sayWithCode } from "./elements.js";
import { connectionWords } from "./words.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const channel = new Channel();
  return {
    /** @param {Context} context */
    initialize({ model }) {
      return channel.open(model, () => {}, () => true, () => ({ log: 0 }));
    },
    render: kept(({ model, el }) => {
      const isBanner = model.get("appearance") === "banner";
      const glyph = h("span", { class: "ph-glyph", "aria-hidden": "true" });
      const word = h("span", { class: isBanner ? "ph-word" : "ph-unseen" });
      const why = h("span", { class: isBanner ? "ph-why" : "ph-unseen" });
      const root = h("div", { class: `ph-status ph-${isBanner ? "banner" : "dot"}`, "data-playhead": "connection-status", role: "status" }, glyph, h("span", { class: "ph-say" }, word, why));
      el.append(root);
      let shown = "";
      let timer = 0;
      const draw = () => {
        const words = connectionWords(channel.status, channel.silentSince);
        root.dataset.connection = words.state;
        root.dataset.transport = channel.status.transport;
        root.title = words.title;
        const now = words.short + words.long;
        if (now === shown) return;
        shown = now;
        say(glyph, words.glyph);
        say(word, words.state === "connected" && words.short === "live" ? "connected, live" : words.short);
        sayWithCode(why, words.long);
        clearTimeout(timer);
        root.hidden = false;
        if (isBanner && words.state === "connected") {
          timer = setTimeout(() => (root.hidden = true), model.get("hide_after_ms"));
        }
      };
      const leave = channel.changed.listen(draw);
      draw();
      const over = () => {
        clearTimeout(timer);
        leave();
      };
      return { root, leave: over };
    }),
  };
};
