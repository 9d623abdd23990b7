// `LiveGrid` in the page: the executions of a batch as they run.
import { Channel, jsonOf } from "./channel.js";
import { Signal, h } from "./elements.js";
import { GridView } from "./grid.js";
import { header } from "./light.js";
import { RowStore } from "./row_store.js";
import { keepInNotebook } from "./saving.js";
import { Keeper } from "./keeper.js";
import { kept } from "./views.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const rows = new RowStore();
  const channel = new Channel();
  const changed = new Signal();
  const keeper = new Keeper(() => rows.columns());
  /** Stories that the kernel told: of a place at a revision. @type {Map<number, {count: number, events: any[]}>} */
  const stories = new Map();
  let selected = -1;
  return {
    /** @param {Context} context */
    initialize({ model }) {
      const choose = () => {
        const pair = model.get("selected") ?? null;
        selected = pair ? rows.placeOf(pair[0], pair[1]) : -1;
        changed.tell();
      };
      const close = channel.open(
        model,
        (page, [bytes]) => {
          if (!bytes) return;
          rows.restore(page.log, page.rev, jsonOf(bytes));
          choose();
          keeper.ask();
        },
        (message, [bytes]) => {
          if (message.kind === "story") {
            stories.set(message.place, { count: message.count, events: jsonOf(bytes) });
            changed.tell();
            return true;
          }
          if (message.kind !== "rows") return rows.isAt(message.log, message.rev);
          const isWhole = rows.take(message.log, message.rev, jsonOf(bytes));
          if (selected < 0 && model.get("selected")) choose();
          changed.tell();
          keeper.ask();
          return isWhole;
        },
        () => ({ log: rows.log, rev: rows.rev }),
      );
      const forget = keepInNotebook(model, () =>
        keeper.bytes && { ...model.get("page"), log: rows.log, rev: rows.rev, status: channel.status, notice: channel.notice, time: channel.heard, pieces: [keeper.bytes] });
      model.on("change:selected", choose);
      return () => {
        close();
        forget();
        keeper.stop();
        model.off("change:selected", choose);
      };
    },
    render: kept(({ model, el }) => {
      const root = h("div", { class: "ph", "data-playhead": "live-grid" });
      el.append(root);
      const batch = model.get("batch_id");
      const leave = header(root, channel, batch ?? "All batches");
      /** @param {number} place */
      const select = (place) => {
        selected = place;
        const { execution, job } = place < 0 ? { execution: "", job: "" } : rows.rowAt(place);
        model.set("selected", place < 0 ? null : [execution || null, job]);
        model.save_changes();
        if (place >= 0) model.send({ kind: "story", place }); // an answer comes once the kernel has time for it
        changed.tell();
      };
      /** @param {number} place */
      const story = (place) => {
        const known = stories.get(place);
        const total = rows.eventsTo(place);
        const listed = known?.events ?? [];
        const later = total - (known?.count ?? 0);
        const note = !known ? `${total.toLocaleString("en")} events; they are listed once the kernel has time to tell them`
          : later > 0 ? `${total.toLocaleString("en")} events, newest first; the ${later.toLocaleString("en")} newest came after this list` : ""; // prettier-ignore
        return { count: known?.count ?? total, events: () => listed, note };
      };
      const now = () => (channel.silentSince === null ? Date.now() * 1000 : null);
      const grid = new GridView(root, { rows: () => rows, selected: () => selected, select, story, now }, model.get("max_display"), `No executions yet${batch ? ` in ${batch}` : ""}`);
      const stop = changed.listen(() => grid.ask());
      const resize = () => grid.show(model.get("max_display"));
      model.on("change:max_display", resize);
      const over = () => {
        leave();
        stop();
        grid.stop();
        model.off("change:max_display", resize);
      };
      return { root, leave: over };
    }),
  };
};
