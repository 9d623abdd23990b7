// `ReplayPlayer` in the page: it holds the recording, so that moving the marker needs no kernel.
import { Channel, bytesOf } from "./channel.js";
import { Deck } from "./deck.js";
import { h } from "./elements.js";
import { GridView } from "./grid.js";
import { header } from "./light.js";
import { Track } from "./track.js";

const TELL_MS = 250; // between two positions told to the kernel

/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

export default () => {
  const deck = new Deck();
  const channel = new Channel();
  return {
    /** @param {Context} context */
    initialize({ model }) {
      /** What the kernel has. @type {number | null} */
      let known = model.get("at");
      /** Where the kernel wants the marker once the recording is that long. @type {number | null} */
      let wish = known;
      let timer = 0;
      const position = () => (deck.marker.isLive ? null : Math.round(deck.marker.at));
      const tell = () => {
        if (timer) return;
        if (!deck.marker.isLive) wish = null; // moved here meanwhile
        if (wish !== null || position() === known) return;
        known = position();
        model.set("at", known);
        model.save_changes();
        timer = setTimeout(() => {
          timer = 0;
          tell();
        }, TELL_MS);
      };
      const obey = () => {
        const at = model.get("at");
        if (at === known) return;
        known = wish = at;
        if (at === null) deck.marker.goLive();
        grown();
      };
      const grown = () => {
        if (wish !== null && deck.tape.length && wish <= deck.tape.end) {
          deck.marker.freeze(wish);
          wish = null;
        }
        deck.moved();
      };
      const close = channel.open(
        model,
        (page) => {
          if (deck.isOld(page.log)) return;
          deck.useLog(page.log);
          deck.tape.append(page.tape, page.tape.columns.map(bytesOf));
          grown();
        },
        (message, columns) => {
          if (message.kind === "rows" && !deck.isOld(message.log)) {
            deck.useLog(message.log);
            const isWhole = deck.tape.append(message, columns.map(bytesOf));
            grown();
            return isWhole;
          }
          return deck.isAt(message.log, message.length);
        },
      );
      const leave = deck.changed.listen(tell);
      model.on("change:at", obey);
      return () => {
        close();
        leave();
        deck.stop();
        clearTimeout(timer);
        model.off("change:at", obey);
      };
    },
    /** @param {Context} context */
    render({ model, el }) {
      const root = h("div", { class: "ph", "data-playhead": "replay-player" });
      el.append(root);
      const batch = model.get("batch_id");
      const leave = header(root, channel, batch ?? "All batches", "connected"); // "live" is said of the marker here
      const track = new Track(root, deck);
      const grid = new GridView(root, deck.tape, model.get("max_display"), "Nothing had happened yet");
      let tape = deck.tape;
      const draw = () => {
        track.ask();
        if (tape !== deck.tape) grid.use((tape = deck.tape));
        else grid.ask();
      };
      const resize = () => grid.show(model.get("max_display"));
      const stop = deck.changed.listen(draw);
      model.on("change:max_display", resize);
      draw();
      return () => {
        leave();
        stop();
        track.stop();
        grid.stop();
        model.off("change:max_display", resize);
      };
    },
  };
};
