// Elements, and being told of changes. Text from events only ever becomes text: nothing here parses HTML.

/**
 * An element with attributes and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * The same for SVG.
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {Node[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set text only when it differs: what does not change is not laid out again. @param {HTMLElement} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set a length in the style only when it differs. @param {HTMLElement} element @param {"height"} name @param {string} value */
export function put(element, name, value) {
  if (element.style[name] !== value) element.style[name] = value;
}

/** A sentence in which `backticks` are code. @param {HTMLElement} element @param {string} text */
export function sayWithCode(element, text) {
  if (element.textContent === text.replaceAll("`", "")) return;
  element.replaceChildren(...text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part)));
}

/** Functions to call when something changes. */
export class Signal {
  /** @type {Set<() => void>} */
  #listeners = new Set();

  /** @param {() => void} listener @returns {() => void} the way out */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell() {
    for (const listener of this.#listeners) listener();
  }
}

/** Call `draw` once in the next frame, however often asked. @param {() => void} draw */
export function eachFrame(draw) {
  let frame = 0;
  return {
    ask() {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        draw();
      });
    },
    stop() {
      cancelAnimationFrame(frame);
    },
  };
}

/** Elements that take the keyboard's focus keep their keys from JupyterLab's shortcuts. @template {HTMLElement} T @param {T} element @returns {T} */
export function keyed(element) {
  element.dataset.lmSuppressShortcuts = "true";
  return element;
}

/** @param {string} label @param {string} title @param {() => void} act */
export function button(label, title, act) {
  const element = keyed(h("button", { type: "button", class: "ph-button", title, "aria-label": title }, label));
  element.addEventListener("click", act);
  return element;
}

/**
 * A choice of several.
 * @param {string} label
 * @param {[value: string, text: string][]} options
 * @param {(value: string) => void} choose
 */
export function choice(label, options, choose) {
  const element = keyed(h("select", { class: "ph-button", "aria-label": label, title: label }));
  for (const [value, text] of options) element.append(h("option", { value }, text));
  element.addEventListener("change", () => choose(element.value));
  return element;
}

/** A field to search by; Escape empties it. @param {string} label @param {(text: string) => void} search */
export function searchField(label, search) {
  const element = keyed(h("input", { type: "search", class: "ph-search", placeholder: "Search", "aria-label": label, title: label, spellcheck: "false" }));
  element.addEventListener("input", () => search(element.value.trim()));
  element.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Escape") return;
    element.value = "";
    search("");
  });
  return element;
}

let ids = 0;

/** An id of its own in the page. */
export const newId = () => `ph-${++ids}`;

/** Tells a screen reader of changes, politely: the last of those within two seconds. */
export class Announcer {
  element = h("div", { class: "ph-unseen", role: "status", "aria-live": "polite" });
  #timer = 0;
  #next = "";

  /** @param {string} text */
  say(text) {
    if (text === this.#next) return;
    this.#next = text;
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      say(this.element, this.#next);
    }, 2000);
  }

  stop() {
    clearTimeout(this.#timer);
  }
}
