// Words and glyphs: how a state, a connection, a length of time and a moment are told. Pure.

/** In the order of the kernel's numbers. */
export const STATES = /** @type {const} */ (["queued", "running", "completed", "failed", "cancelled"]);
export const GLYPHS = ["○", "▶", "✓", "✕", "⊘"];
/** Failed and active first. */
export const SHOWN = [3, 1, 0, 4, 2];
export const QUEUED = 0;
export const RUNNING = 1;
export const COMPLETED = 2;
export const FAILED = 3;
export const CANCELLED = 4;

/**
 * What the kernel says of the connection; `since` in milliseconds, `lag` in events behind the log, null when not known.
 * @typedef {{state: "connected" | "reconnecting" | "disconnected" | "saved", transport: string, attempt: number, since: number,
 *   detail: string, url: string, interval: number | null, lag: number | null, degraded?: string}} Status
 */

/** @param {number} ms */
export const clock = (ms) => new Date(ms).toTimeString().slice(0, 8);

/** With the day when that is not today. @param {number} ms */
const when = (ms) => (new Date(ms).toDateString() === new Date().toDateString() ? clock(ms) : `${new Date(ms).toLocaleDateString("sv")} ${clock(ms).slice(0, 5)}`);

/**
 * A connection in words. `silentSince` is when the kernel was last heard, if that is too long ago: then nothing that it
 * said still holds.
 * @param {Status} status
 * @param {number | null} silentSince
 */
export function connectionWords(status, silentSince = null) {
  const via = { websocket: "WebSocket", sse: "server-sent events", polling: "polling", recording: "a recording in this process" };
  const transport = via[/** @type {keyof typeof via} */ (status.transport)] ?? status.transport;
  const title = [status.url, `${status.state} since ${clock(status.since)}, by ${transport}`, status.detail];
  const found = { state: /** @type {string} */ (status.state), glyph: "●", short: "live", long: "", title: "", lag: "" };
  if (status.state === "saved") {
    found.short = `saved ${when(status.since)}`;
    title.splice(1, 1, "a copy that needs no kernel and no server");
  } else if (silentSince !== null) {
    found.state = "disconnected";
    found.short = `kernel stopped - last state ${when(silentSince)}`;
    found.long = "nothing comes from the notebook's kernel; run the cell again to follow on";
    title.unshift("the page hears nothing from the notebook's kernel");
  } else if (status.state === "connected") {
    if (status.transport === "recording") found.short = "recording";
    else if (status.transport === "polling") {
      found.short = status.interval ? `polling every ${status.interval} s` : "polling";
      found.long = "no stream gets through";
    } else found.long = `over ${transport}`;
    if (status.degraded) {
      found.state = "degraded";
      found.short = "degraded";
      found.long = `${status.degraded}; what comes in here is kept, and reaches the other servers later`;
      title.push(found.long);
    }
    if (status.lag) found.lag = `, ${count(status.lag, "event")} behind`;
  } else if (status.state === "reconnecting") {
    found.short = status.attempt ? `reconnecting (${status.attempt})` : "connecting";
    found.long = status.attempt ? status.detail : "";
  } else {
    found.short = `disconnected since ${clock(status.since)}`;
    found.long = status.detail || "is the server running? `playhead serve` starts one";
  }
  found.glyph = { connected: "●", degraded: "◑", reconnecting: "◐", disconnected: "○", saved: "■" }[found.state] ?? "○";
  found.title = title.filter(Boolean).join("\n");
  return found;
}

/** @param {number} ms */
export function duration(ms) {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** @param {number} us microseconds since 1970 @param {number} [digits] of a second */
export function moment(us, digits = 3) {
  const text = new Date(us / 1000).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, digits ? 20 + digits : 19)} UTC`;
}

/** The time of day in UTC. @param {number} us */
export const clockUtc = (us) => new Date(us / 1000).toISOString().slice(11, 23);

/**
 * How high the marks of failures are in a profile, 0 to 1: whole where they are few, else by how many there were.
 * @param {Float64Array} failures
 */
export function failureHeights(failures) {
  const marked = failures.reduce((sum, one) => sum + (one ? 1 : 0), 0);
  const most = failures.reduce((high, one) => Math.max(high, one), 1);
  return failures.map((one) => (!one ? 0 : marked <= failures.length / 6 ? 1 : 0.15 + 0.45 * Math.sqrt(one / most)));
}

/** @param {number} n @param {string} one */
export const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
