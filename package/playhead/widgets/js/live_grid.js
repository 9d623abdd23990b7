// `LiveGrid` in the page: the executions of a batch as they run.
import { Channel, jsonOf } from "./channel.js";
import { Signal, h } from "./elements.js";
import { GridView } from "./grid.js";
import { header } from "./light.js";
import { RowStore } from "./row_store.js";
import { keepInNotebook } from "./saving.js";
import { Keeper } from "./keeper.js";
import { kept } from "./views.js";
import { count } from "./words.js";

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const rows = new RowStore();
  const channel = new Channel();
  const changed = new Signal();
  const keeper = new Keeper(() => ({ about: { log: rows.log, rev: rows.rev }, value: rows.columns() }));
  /** What the kernel told of the events of an attempt. @type {Map<number, {attempt: number, count: number, events: any[], note: string}>} */
  const stories = new Map();
  let selected = -1;
  let log = -1;
  return {
    /** @param {Context} context */
    initialize({ model }) {
      const choose = () => {
        const pair = model.get("selected") ?? null;
        selected = pair ? rows.placeOf(pair[0], pair[1]) : -1;
        changed.tell();
      };
      /** Places are of a log: those of another one are not these. */
      const settle = () => {
        if (log !== rows.log) stories.clear();
        if (log !== rows.log || selected < 0) choose();
        log = rows.log;
        changed.tell();
        keeper.ask();
      };
      const close = channel.open(
        model,
        (page, [bytes]) => {
          if (!bytes) return;
          rows.restore(page.log, page.rev, jsonOf(bytes));
          settle();
        },
        (message, [bytes]) => {
          if (message.kind === "story") {
            if (message.log === rows.log) stories.set(message.place, { ...message, events: jsonOf(bytes) });
            changed.tell();
            return true;
          }
          if (message.kind !== "rows") return rows.isAt(message.log, message.rev);
          const isWhole = rows.take(message.log, message.rev, jsonOf(bytes));
          settle();
          return isWhole;
        },
        () => ({ log: rows.log, rev: rows.rev }),
      );
      const forget = keepInNotebook(model, () =>
        keeper.kept && { ...keeper.kept.about, status: channel.status, notice: channel.notice, time: channel.heard, pieces: [keeper.kept.bytes] });
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
        const told = stories.get(place);
        const known = told?.attempt === rows.rowAt(place).attempt ? told : undefined;
        const total = rows.eventsTo(place);
        const listed = known?.events ?? [];
        const later = total - (known?.count ?? 0);
        const many = count(total, "event");
        const why = channel.status.state === "saved" ? "this copy has no list of them" : "they are listed once the kernel has time to tell them";
        const note = known?.note || (!known ? `${many}; ${why}` : later > 0 ? `${many}, newest first; the newest ${later.toLocaleString("en")} came after this list` : "");
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
