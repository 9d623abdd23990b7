export default () => {
  const store = { rows: [], rev: -1, listeners: new Set() };
  const snapshot = (model) => {
    const data = model.get("snapshot");
    if (!data || !data.byteLength) return;
    const found = JSON.parse(textOf(data));
    if (found.rev < store.rev) return;
    store.rows = found.rows;
    store.rev = found.rev;
    store.listeners.forEach((tell) => tell());
  };
  return {
    initialize({ model }) {
      snapshot(model);
      const take = (message, buffers) => {
        if (message.kind !== "delta" || message.rev <= store.rev) return;
        for (const [index, row] of JSON.parse(textOf(buffers[0]))) store.rows[index] = row;
        store.rev = message.rev;
        store.listeners.forEach((tell) => tell());
      };
      const again = () => snapshot(model);
      model.on("msg:custom", take);
      model.on("change:snapshot", again);
      return () => { model.off("msg:custom", take); model.off("change:snapshot", again); };
    },
    render({ model, el }) {
      const light = h("span", { class: "ph-light" });
      const head = h("div", { class: "ph-head" }, light);
      const root = h("div", { class: "ph", "data-playhead": "live-grid" }, head);
      el.append(root);
      const grid = new Grid(root, model.get("max_display"));
      const draw = () => { grid.rows = store.rows; grid.poke(); };
      const status = () => {
        root.dataset.connection = model.get("connection");
        light.textContent = model.get("status_text");
      };
      store.listeners.add(draw);
      model.on("change:connection change:status_text", status);
      status();
      draw();
      return () => { store.listeners.delete(draw); model.off("change:connection change:status_text", status); };
    },
  };
};
