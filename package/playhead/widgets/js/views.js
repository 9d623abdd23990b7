// A host that renders an output anew, because something beside the view has changed, takes the view away and asks for another:
// it gets the same one, with what was searched, scrolled to and focused.

const RECENT_MS = 1500;

/** @typedef {{root: HTMLElement, leave: () => void}} View */
/** @typedef {{model: import("./channel.js").Model, el: HTMLElement}} Context */

/**
 * @param {(context: Context) => View} make
 * @returns {(context: Context) => () => void}
 */
export function kept(make) {
  /** @type {{view: View, seen: number, owner: object, tops: Map<Element, number>, focus: HTMLElement | null, timer: number}[]} */
  const views = [];
  return ({ model, el }) => {
    const owner = {};
    const now = performance.now();
    let one = views.find((other) => !other.view.root.isConnected && now - other.seen < RECENT_MS);
    if (one) {
      const { view, tops, focus } = one;
      el.append(view.root);
      requestAnimationFrame(() => {
        for (const [element, top] of tops) element.scrollTop = top;
        focus?.focus({ preventScroll: true });
      });
      one.owner = owner;
    } else {
      const made = { view: make({ model, el }), seen: -Infinity, owner, tops: new Map(), focus: /** @type {HTMLElement | null} */ (null), timer: 0 };
      const see = () => {
        if (made.view.root.isConnected) made.seen = performance.now();
      };
      requestAnimationFrame(see);
      made.timer = setInterval(see, 500);
      const { root } = made.view;
      root.addEventListener("scroll", (event) => made.tops.set(/** @type {Element} */ (event.target), /** @type {Element} */ (event.target).scrollTop), true);
      root.addEventListener("focusin", (event) => (made.focus = /** @type {HTMLElement} */ (event.target)));
      root.addEventListener("focusout", () => root.isConnected && (made.focus = null));
      one = made;
      views.push(one);
    }
    const held = one;
    return () => {
      if (held.owner !== owner) return; // it was given to another
      clearInterval(held.timer);
      views.splice(views.indexOf(held), 1);
      held.view.leave();
    };
  };
}
