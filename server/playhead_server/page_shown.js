// The page at `/`, as it is shown: figures, batches and what a link answers, put where they belong. What a server tells is set
// as text, never as HTML. One script with page.js, which asks for them.

const FRESH_MS = 10_000; // figures that are further apart than that make no rate
const SAMPLES = 150; // five minutes
const STATES = ["failed", "running", "queued", "completed", "cancelled"];
const IN_BAR = ["completed", "failed", "cancelled", "running", "queued"];
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {string} selector @param {ParentNode} [root] @returns {any} */
const one = (selector, root = document) => root.querySelector(selector);
/** @param {string} selector @returns {any[]} */
const all = (selector) => [...document.querySelectorAll(selector)];
/** Set a text only where it is another, so that a selection and a screen reader stay undisturbed. */
function say(/** @type {Node} */ node, /** @type {string} */ text) {
  if (node.textContent !== text) node.textContent = text;
}

// figures

/** @type {Map<string, {figures: any, at: number}>} the last ones by server, as a balancer may ask another each time */
const before = new Map();
/** @type {Record<string, (number | null)[]>} */
const rates = { in: [], out: [] };
let sampledAt = 0;

/** @param {any} figures those that are not there are hidden */
function showFigures(figures) {
  const shown = { ...figures, ...ratesOf(figures) };
  for (const place of all("[data-figure]")) {
    const [part, key] = place.dataset.figure.split(".");
    const value = key ? shown[part]?.[key] : shown[part];
    place.hidden = value === undefined || value === null;
    if (!place.hidden) say(one("b", place), written(value, place.dataset.as));
  }
  for (const group of all(".group")) group.hidden = !one("[data-figure]:not([hidden])", group);
  const missing = one("#missing");
  missing.hidden = !figures.missing?.length;
  one('[data-figure="missing"]').dataset.tone = missing.hidden ? "" : "bad";
  fill(one("ul", missing), figures.missing ?? [], () => document.createElement("li"), say);
  say(one("#recording"), String(figures.recording ?? ""));
  one("#figures").hidden = figures.head === undefined;
}

/** Events a second, in and out, since the last figures of the same server. @param {any} figures */
function ratesOf(figures) {
  if (figures.head === undefined) {
    before.clear();
    rates.in = rates.out = [];
    sampledAt = performance.now();
    return {};
  }
  const server = String(figures.cluster?.server ?? "");
  const [last, at] = [before.get(server), performance.now()];
  before.set(server, { figures, at });
  const own = figures.organizationId === undefined ? "head" : "events";
  const isOfOneRun = last?.figures.epoch === figures.epoch && !(figures.uptimeS < last?.figures.uptimeS);
  const isSame = last && isOfOneRun && at - last.at < FRESH_MS;
  const skipped = Math.min(SAMPLES, Math.max(0, Math.round((at - sampledAt) / EVERY_MS) - 1)); // away, hidden, or had to wait
  sampledAt = at;
  /** @type {Record<string, number | string>} */
  const found = {};
  for (const [name, key] of [["in", own], ["out", "delivered"]]) {
    if (figures[key] === undefined) continue;
    const was = last && isSame ? last.figures[key] : undefined;
    const rate = was === undefined ? null : (1000 * Math.max(0, figures[key] - was)) / (at - (last?.at ?? 0));
    rates[name] = [...rates[name], ...Array(skipped).fill(null), rate].slice(-SAMPLES);
    found[name] = rate === null ? "–" : rate && rate < 9.95 ? rate.toFixed(1) : whole.format(rate);
    draw(name);
  }
  return found;
}

/** @param {string} name */
function draw(name) {
  const peak = rates[name].reduce((/** @type {number} */ high, rate) => Math.max(high, rate ?? 0), 0);
  const steps = rates[name].map((rate, index) => {
    const x = SAMPLES - rates[name].length + index;
    return rate ? `M${x} 24V${(24 - Math.max(1, (23 * rate) / peak)).toFixed(2)}h1V24z` : "";
  });
  const place = one(`[data-figure="${name}"]`);
  one("path", place).setAttribute("d", steps.join(""));
  const most = peak ? `at most ${whole.format(Math.ceil(peak))}` : "none";
  say(one(".peak", place), `${most} in 5 min`);
}

/** @param {any} value @param {string} [as] */
function written(value, as) {
  if (Array.isArray(value)) return value.length ? whole.format(value.length) : "none";
  if (typeof value !== "number") return String(value);
  if (as === "bytes") {
    const step = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
    return `${(value / 1000 ** step).toFixed(step ? 1 : 0)} ${["bytes", "kB", "MB", "GB", "TB"][step]}`;
  }
  if (as !== "span") return whole.format(value);
  const [days, hours, minutes] = [Math.floor(value / 86400), Math.floor(value / 3600) % 24, Math.floor(value / 60) % 60];
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : `${minutes} min ${Math.floor(value % 60)} s`;
}

/** The time of day, here; with the day when that is not today. @param {string | number} time */
function moment(time) {
  const at = new Date(time);
  const day = at.toDateString() === new Date().toDateString() ? "" : `${at.toLocaleDateString("sv")} `;
  return day + at.toTimeString().slice(0, day ? 5 : 8);
}

/**
 * As many children as there are things, each told its own; those that are there stay.
 * @param {Element} place @param {any[]} things @param {() => Element} make @param {(child: any, thing: any) => void} tell
 */
function fill(place, things, make, tell) {
  while (place.children.length > things.length) place.lastElementChild?.remove();
  while (place.children.length < things.length) place.append(make());
  things.forEach((thing, index) => tell(place.children[index], thing));
}

// batches

/** @param {any[] | null} batches null for none of one's business */
function showBatches(batches) {
  one("#batches").hidden = batches === null;
  one("#batches table").hidden = !batches?.length;
  one("#batches .none").hidden = Boolean(batches?.length);
  fill(one("#batches tbody"), batches ?? [], batchRow, showBatch);
}

function batchRow() {
  const row = one("#batch").content.firstElementChild.cloneNode(true);
  for (const state of IN_BAR) one(".bar div", row).append(Object.assign(document.createElement("i"), { className: state }));
  return row;
}

/** @param {Element} row @param {any} batch */
function showBatch(row, batch) {
  say(one("bdi", row), String(batch.batchId));
  one("th", row).title = String(batch.batchId);
  for (const state of STATES) {
    const count = Number(batch.counts?.[state] ?? 0);
    one(`i.${state}`, row).style.flexGrow = String(count);
    const cell = one(`td.${state}`, row);
    cell.dataset.none = String(!count);
    say(one("b", cell), whole.format(count));
  }
  say(one(".when", row), moment(batch.last));
}

// what a link answers, where a link cannot carry the token: fetched, then shown or saved

/** @type {string[]} urls of what was fetched, to be let go */
let held = [];

/** @param {HTMLAnchorElement} link */
async function follow(link) {
  const name = link.download || `${(link.textContent ?? "").toLowerCase()}.json`;
  say(one("#told"), `${name}: on its way`);
  let answer, blob;
  try {
    answer = await request(link.href);
    blob = await answer.blob();
  } catch {
    return say(one("#told"), `${name}: the line broke; try again`);
  }
  const body = answer.ok ? null : await blob.text().then(JSON.parse).catch(() => null);
  if (!answer.ok) return say(one("#told"), `${name}: ${whyNot(answer, body)}`);
  held.forEach((url) => URL.revokeObjectURL(url));
  held = [URL.createObjectURL(blob)];
  const saving = Object.assign(document.createElement("a"), { href: held[0], download: name });
  if (link.download) {
    saving.click();
    return say(one("#told"), `${name}: saved, ${written(blob.size, "bytes")}`);
  }
  say(one("#told"), "");
  Object.assign(one("#save"), { href: saving.href, download: name });
  say(one("#shown-title"), link.textContent ?? "");
  say(one("#shown pre"), JSON.stringify(JSON.parse(await blob.text()), null, 2));
  one("#shown").showModal();
}

for (const kind of ["click", "auxclick"]) {
  one(".links").addEventListener(kind, (/** @type {MouseEvent} */ event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || event.button > 1 || link.pathname.endsWith("/readyz")) return;
    if (access === "refused") {
      event.preventDefault();
      say(one("#told"), "type the token first");
      one("#token").focus();
    } else if (token) {
      event.preventDefault();
      void follow(link);
    }
  });
}
one("#close").addEventListener("click", () => one("#shown").close());

for (const button of all(".copy")) {
  button.hidden = !navigator.clipboard; // a page that came over plain http from elsewhere has none
  button.addEventListener("click", async () => {
    const code = one("code", button.parentElement).textContent;
    const done = await navigator.clipboard.writeText(code).then(() => "Copied", () => "Not allowed");
    say(button, done);
    setTimeout(() => say(button, "Copy"), 1500);
  });
}
