// The page at `/`: asks its server how it does, every two seconds while somebody looks, and says it. What a server tells is set
// as text, never as HTML. The token is a variable of this script and nothing else: not in the url, not in any storage.

const EVERY_MS = 2000;
const PATIENCE_MS = 8000;
const SIGN_IN = "the sign-in in front of the server is over: reload this page";

let token = "";
/** @type {"unknown" | "granted" | "refused"} what the server makes of the token, or of none */
let access = "unknown";
let visit = new AbortController(); // ends when nobody looks any more, or another token is taken
let timer = 0;
let notBefore = 0; // when figures may be asked for again, after a 429
/** @type {number | null} when the server was first found away */
let awaySince = null;

/**
 * What was answered: `body` is JSON of the server's own or null, `status` 0 when nothing came, with why.
 * @typedef {{status: number, body: any, retryS: number, why: string}} Answer
 */

/** @param {string} path @param {number} [patienceMs] @returns {Promise<Answer>} */
async function ask(path, patienceMs = PATIENCE_MS) {
  try {
    const answer = await request(path, AbortSignal.any([visit.signal, AbortSignal.timeout(patienceMs)]));
    const isOurs = /json/.test(answer.headers.get("content-type") ?? "");
    const body = isOurs ? await answer.json().catch(() => null) : (await answer.text(), null);
    return { status: answer.status, body, retryS: Number(answer.headers.get("retry-after")) || 0, why: whyNot(answer, body) };
  } catch (error) {
    const isSlow = error instanceof DOMException && error.name === "TimeoutError";
    return { status: 0, body: null, retryS: 0, why: isSlow ? `no answer within ${patienceMs / 1000} s` : "" };
  }
}

/** @param {string} path @param {AbortSignal} [signal] */
function request(path, signal) {
  const headers = token ? { "X-Playhead-Token": token } : undefined;
  return fetch(path, { headers, signal, cache: "no-store", redirect: "manual" });
}

/** What an answer has against the request; empty when nothing. @param {Response} answer @param {any} body */
function whyNot(answer, body) {
  if (answer.ok) return body ? "" : "something else answers there";
  if (body?.detail) return String(body.detail);
  if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) return SIGN_IN;
  return `what is in front of the server answers ${answer.status}`;
}

/** Ask for everything once, say it, and again later. */
async function look() {
  const mine = visit;
  const began = performance.now();
  const mayAsk = access !== "refused" && began >= notBefore;
  const [health, stats] = await Promise.all([ask("readyz"), mayAsk ? ask("api/stats") : null]);
  if (mine !== visit || mine.signal.aborted) return;
  const isOurs = Boolean(health.body?.status);
  let note = "";
  if (stats?.status === 200 && stats.body) {
    if (access !== "granted") admit();
    showFigures({ cursor: `${stats.body.epoch}:${stats.body.head}`, ...stats.body });
    void lookAtBatches(stats.body);
  } else if (stats?.body && (stats.status === 401 || stats.status === 403)) refuse(stats);
  else if (stats?.status === 429) {
    notBefore = began + 1000 * stats.retryS;
    note = `figures wait: ${stats.why}`;
  } else if (stats && isOurs) note = `the figures do not come: ${stats.why || "the line broke"}`;
  else if (!stats && access === "granted") note = one("#state .why").dataset.note ?? "";
  if (access === "refused" && health.body?.cursor) {
    const [epoch, head] = String(health.body.cursor).split(":");
    showFigures({ cursor: health.body.cursor, epoch, head: Number(head) }); // of which everybody is told
  }
  showState(health, isOurs, note);
  timer = setTimeout(look, Math.max(EVERY_MS / 4, EVERY_MS - (performance.now() - began)));
}

function pause() {
  clearTimeout(timer);
  visit.abort();
}

function begin() {
  pause();
  visit = new AbortController();
  notBefore = batchesAfter = 0;
  void look();
}

/** @param {Answer} health @param {boolean} isOurs @param {string} note */
function showState(health, isOurs, note) {
  const isAway = !isOurs;
  if (isAway && access !== "granted") access = "unknown"; // the next one there may want no token
  awaySince = isAway ? (awaySince ?? Date.now()) : null;
  let [glyph, word, why, tone] = ["●", "ok", note, note ? "warn" : "good"];
  if (isAway) {
    const reason = health.why ? `${health.why}; ` : "";
    why = `${reason}since ${moment(awaySince ?? 0)}, tried again all the time`;
    [glyph, word, tone] = ["✕", "not reachable", "bad"];
  } else if (health.status !== 200) [glyph, word, why, tone] = ["✕", "not serving", String(health.body.detail ?? ""), "bad"];
  else if (health.body.status !== "ok") {
    why = [health.body.reason, note].filter(Boolean).join("; ");
    [glyph, word, tone] = ["◑", String(health.body.status), "warn"];
  }
  const place = one("#state");
  place.dataset.tone = document.body.dataset.tone = tone;
  one(".why", place).dataset.note = note;
  say(one(".glyph", place), glyph);
  say(one("b", place), word);
  say(one(".why", place), why);
  if (isAway || note) for (const name of ["in", "out"]) say(one(`[data-figure="${name}"] b`), "–");
  if (!isAway) say(one("#looked"), `as of ${moment(Date.now())}`);
  say(one("title"), word === "ok" ? "playhead" : `${glyph} ${word} – playhead`);
  one("#figures").dataset.stale = String(isAway || Boolean(note));
}

// who may see them

function admit() {
  access = "granted";
  showFigures({}); // what everybody is told is not what this token is told
  one("#access").hidden = true;
  one("#token").value = "";
  say(one("#refusal"), "");
  one("#forget").hidden = !token;
  explain();
}

/** @param {Answer | null} answer null when the person takes the token back */
function refuse(answer) {
  say(one("#refusal"), answer && (token || answer.status === 403) ? answer.why : "");
  access = "refused";
  token = batchesOf = "";
  one("#forget").hidden = true;
  showBatches(null);
  showFigures({});
  one("#access").hidden = false;
  explain();
}

one("#access").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const typed = one("#token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(typed)) return say(one("#refusal"), "a token has ASCII characters and no spaces");
  token = typed;
  access = "unknown";
  begin();
});
one("#forget").addEventListener("click", () => {
  refuse(null);
  one("#token").focus();
  begin();
});

/** The commands, as they work from here. */
function explain() {
  const url = new URL(".", location.href).href.replace(/\/$/, "");
  const isSignedIn = access === "granted" && !token && location.pathname !== "/"; // something in front adds the token
  /** @type {Record<string, string>} */
  const words = {
    connect: isSignedIn ? "ph.connect()" : `ph.connect(${JSON.stringify(url)})`,
    header: isSignedIn ? "Authorization: token $JUPYTER_TOKEN" : "X-Playhead-Token: $PLAYHEAD_TOKEN",
    url,
  };
  for (const place of all("[data-say]")) say(place, words[place.dataset.say]);
  const how = isSignedIn ? "in a notebook, connect() finds this server by itself" : "the token is read from PLAYHEAD_TOKEN";
  say(one("#how"), how);
}

/** @type {string} of which figures the batches are shown */
let batchesOf = "";
let batchesAfter = 0;
let isAsking = false;

/** Ask for the batches where something has changed, and no more often than a quarter of the time. */
async function lookAtBatches(/** @type {any} */ figures) {
  const those = `${token} ${figures.epoch} ${figures.head} ${figures.events}`;
  const began = performance.now();
  if (isAsking || those === batchesOf || began < batchesAfter) return;
  isAsking = true;
  const { status, body, retryS } = await ask("api/batches?limit=10", 30_000);
  isAsking = false;
  const ended = performance.now();
  batchesAfter = ended + Math.max(3 * (ended - began), 1000 * retryS);
  if (status !== 200 || !body || access !== "granted") return;
  batchesOf = those;
  showBatches(body.batches);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return pause();
  before.clear(); // a rate over the time that nobody looked says nothing of now
  begin();
});
explain();
if (!document.hidden) begin();
