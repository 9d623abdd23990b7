// `LiveGrid` in the page: the executions of a batch as they run.
import { Channel, jsonOf } from "./channel.js";
import { Signal, h } from "./elements.js";
import { GridView } from "./grid.js";
import { header } from "./light.js";
import { RowStore } from "./row_store.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const rows = new RowStore();
  const channel = new Channel();
  const changed = new Signal();
  return {
    /** @param {Context} context */
    initialize({ model }) {
      return channel.open(
        model,
        (page) => {
          rows.restore(page.log, page.rev, jsonOf(page.rows));
          changed.tell();
        },
        (message, [changes]) => {
          if (message.kind !== "rows") return rows.isAt(message.log, message.rev);
          const isWhole = rows.take(message.log, message.rev, jsonOf(changes));
          changed.tell();
          return isWhole;
        },
      );
    },
    /** @param {Context} context */
    render({ model, el }) {
      const root = h("div", { class: "ph", "data-playhead": "live-grid" });
      el.append(root);
      const batch = model.get("batch_id");
      const leave = header(root, channel, batch ?? "All batches");
      const grid = new GridView(root, rows, model.get("max_display"), `No executions yet${batch ? ` in ${batch}` : ""}`);
      const stop = changed.listen(() => grid.ask());
      const resize = () => grid.show(model.get("max_display"));
      model.on("change:max_display", resize);
      return () => {
        leave();
        stop();
        grid.stop();
        model.off("change:max_display", resize);
      };
    },
  };
};
