// A notebook that is saved keeps the last state of our widgets, so that it opens again with no kernel. JupyterLab does so for
// all widgets by a setting that is off at first; this does the same for ours alone, whatever the setting.
const TYPE = "application/vnd.jupyter.widget-state+json";
const CHUNK = 32_768;

/**
 * @param {import("./channel.js").Model} model
 * @param {() => {pieces: DataView[]} | null} pageOf what `page` is to be when it is opened again; null for not yet
 * @returns {() => void} the way out
 */
export function keepInNotebook(model, pageOf) {
  const manager = model.widget_manager;
  const context = manager?.context;
  if (!context?.saveState?.connect || !manager.get_state_sync || !context.model?.setMetadata) return () => {}; // not JupyterLab
  const save = (/** @type {unknown} */ _, /** @type {string} */ phase) => {
    if (phase !== "started") return;
    try {
      const page = pageOf();
      if (page) put(manager, context.model, model.get("layout")?.model_id, page);
    } catch (error) {
      console.warn("playhead: the widget's last state was not saved with the notebook", error);
    }
  };
  context.saveState.connect(save);
  return () => context.saveState.disconnect(save);
}

/**
 * The state of the model with this layout, and the layout's, into the notebook's metadata. The model itself is left as it is:
 * what is set in it would go to the kernel.
 * @param {any} manager @param {any} notebook @param {string | undefined} layout @param {{pieces: DataView[]}} page
 */
function put(manager, notebook, layout, page) {
  const all = manager.get_state_sync({ drop_defaults: true });
  const found = Object.entries(all.state).find(([, one]) => layout && one.state.layout === `IPY_MODEL_${layout}`);
  if (!layout || !found) return;
  const [id, entry] = found;
  const others = (entry.buffers ?? []).filter((/** @type {any} */ one) => one.path[0] !== "page");
  const buffers = page.pieces.map((bytes, which) => ({ encoding: "base64", path: ["page", "pieces", which], data: base64(bytes) }));
  const kept = { ...entry, state: { ...entry.state, page: { ...page, pieces: page.pieces.map(() => null) } }, buffers: [...others, ...buffers] };
  const known = notebook.getMetadata?.("widgets")?.[TYPE]?.state ?? {};
  const before = Object.fromEntries(Object.entries(known).filter(([one]) => manager.has_model(one) || all.state[one]));
  const state = { ...before, [id]: kept, ...(all.state[layout] ? { [layout]: all.state[layout] } : {}) };
  notebook.setMetadata("widgets", { [TYPE]: { version_major: all.version_major, version_minor: all.version_minor, state } });
}

/** @param {DataView} view */
function base64(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}
