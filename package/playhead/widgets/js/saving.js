// A notebook that is saved keeps the last state of our widgets, so that it opens again with no kernel. JupyterLab does so for
// all widgets by a setting that is off at first; this does the same for ours alone, whatever the setting.
const TYPE = "application/vnd.jupyter.widget-state+json";
let marks = 0;

/**
 * @param {import("./channel.js").Model} model
 * @param {() => object | null} page what `page` is to be when it is opened again; null for as it is
 * @returns {() => void} the way out
 */
export function keepInNotebook(model, page) {
  const manager = model.widget_manager;
  const context = manager?.context;
  if (!context?.saveState?.connect || !manager.get_state_sync || !context.model?.setMetadata) return () => {}; // not JupyterLab
  const save = (/** @type {unknown} */ _, /** @type {string} */ phase) => {
    if (phase !== "started") return;
    try {
      const mark = `${Date.now()} ${++marks}`;
      model.set("page", { ...(page() ?? model.get("page")), mark });
      put(manager, context.model, mark);
    } catch (error) {
      console.warn("playhead: the widget's last state was not saved with the notebook", error);
    }
  };
  context.saveState.connect(save);
  return () => context.saveState.disconnect(save);
}

/** The state of the model that bears the mark, and of its layout, into the notebook's metadata. @param {any} manager @param {any} notebook @param {string} mark */
function put(manager, notebook, mark) {
  const all = manager.get_state_sync({ drop_defaults: true });
  const found = Object.entries(all.state).find(([, one]) => one.state.page?.mark === mark);
  if (!found) return;
  const layout = String(found[1].state.layout ?? "").replace("IPY_MODEL_", "");
  const known = notebook.getMetadata?.("widgets")?.[TYPE]?.state ?? {};
  const kept = Object.entries(known).filter(([id]) => manager.has_model(id) || all.state[id]);
  const state = { ...Object.fromEntries(kept), [found[0]]: found[1], ...(all.state[layout] ? { [layout]: all.state[layout] } : {}) };
  notebook.setMetadata("widgets", { [TYPE]: { version_major: all.version_major, version_minor: all.version_minor, state } });
}
