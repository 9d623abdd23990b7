// Texts of the widgets whose contrast on what is behind them is below 4.5 to 1, by the formula of WCAG 2.2.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  /** Any CSS colour as [r, g, b, a]. */
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const colour = rgba(getComputedStyle(element).backgroundColor);
    if (colour[3] > 0.99) return colour.slice(0, 3);
    return over(colour, element.parentElement ? behind(element.parentElement) : [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll(":is(.ph, .ph-status) :is(span, button, select, div, code, bdi)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const back = behind(element);
    const text = over(rgba(getComputedStyle(element).color), back);
    const [high, low] = [light(text), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${element.className || element.parentElement.className}: ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
}
