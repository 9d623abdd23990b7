export default {
  render({ model, el }) {
    const dot = h("span", { class: "ph-dot", "aria-hidden": "true" });
    const text = h("span", {});
    const root = h("div", { class: `ph-status ph-status-${model.get("style_name")}`, "data-playhead": "connection-status", role: "status" }, dot, text);
    el.append(root);
    let timer = 0;
    const draw = () => {
      const state = model.get("connection");
      root.dataset.connection = state;
      text.textContent = model.get("style_name") === "dot" ? "" : model.get("text");
      root.title = model.get("tooltip");
      root.setAttribute("aria-label", model.get("text"));
      clearTimeout(timer);
      root.classList.remove("ph-hidden");
      if (state === "connected" && model.get("style_name") === "banner") timer = setTimeout(() => root.classList.add("ph-hidden"), model.get("hide_after_ms"));
    };
    model.on("change:connection change:text change:tooltip", draw);
    draw();
    return () => { clearTimeout(timer); model.off("change:connection change:text change:tooltip", draw); };
  },
};
