// The connection, told truthfully by colour, glyph and word, and a notice when what is shown began afresh.
import { Announcer, h, say, sayWithCode } from "./elements.js";
import { connectionWords } from "./words.js";

/**
 * The line at the top of a widget, and what is to be noticed below it.
 * @param {HTMLElement} root gets `data-connection`
 * @param {import("./channel.js").Channel} channel
 * @param {string} title
 * @param {string} [live] the word for "connected, by a stream"
 */
export function header(root, channel, title, live = "live") {
  const glyph = h("span", { class: "ph-glyph", "aria-hidden": "true" });
  const word = h("span");
  const lag = h("span", { class: "ph-lag" });
  const light = h("span", { class: "ph-light" }, glyph, word, lag);
  const why = h("div", { class: "ph-why", role: "note" });
  const notice = h("div", { class: "ph-notice", role: "note" });
  const announcer = new Announcer();
  root.append(h("div", { class: "ph-head" }, h("span", { class: "ph-title", title }, title), light), why, notice, announcer.element);
  const draw = () => {
    const words = connectionWords(channel.status, channel.silentSince);
    root.dataset.connection = words.state;
    root.dataset.transport = channel.status.transport;
    say(glyph, words.glyph);
    say(word, words.short === "live" ? live : words.short);
    say(lag, words.lag);
    light.title = words.title;
    const isBad = words.state === "disconnected" || words.state === "degraded";
    sayWithCode(why, isBad ? words.long : "");
    why.hidden = !why.textContent;
    say(notice, channel.notice);
    notice.hidden = !channel.notice;
    announcer.say(`${words.short} ${isBad ? words.long : ""}`.trim());
  };
  draw();
  const leave = channel.changed.listen(draw);
  return () => {
    leave();
    announcer.stop();
  };
}
