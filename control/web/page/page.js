// The status page: asks the daemon once a second, and shows what it answers.
// Names come from a configuration: they are text here, never markup.

import { Chart } from "./chart.js";
import { byteRate, bytes, clock, count, duration, rate, short } from "./format.js";
import { Listeners, changeOf, reasonOf, stateOf, write } from "./listeners.js";

const every = 1000; // milliseconds
const patience = 5000; // for one answer
const span = 10 * 60 * 1000;

const byId = (id) => document.getElementById(id);
const keys = "Arrow keys read out samples.";
const highest = (samples, key) => Math.max(0, ...samples.map((s) => s[key]));

const charts = [
  new Chart(byId("open"), [{ key: "active", format: count }], short, span, (samples) =>
    `Open connections in the last ten minutes: ${count(samples.at(-1)?.active ?? 0)} now, ${count(highest(samples, "active"))} at most. ${keys}`),
  new Chart(byId("fresh"), [{ key: "connections", format: rate }], short, span, (samples) =>
    `New connections in the last ten minutes: ${rate(samples.at(-1)?.connections ?? 0)} now, ${rate(highest(samples, "connections"))} at most. ${keys}`),
  new Chart(byId("traffic"), [{ key: "sent", format: byteRate }, { key: "received", format: byteRate }], byteRate, span, (samples) =>
    `Traffic in the last ten minutes: at most ${byteRate(highest(samples, "sent"))} to channels and ${byteRate(highest(samples, "received"))} to clients. ${keys}`),
];
const listeners = new Listeners(byId("listeners"));

let samples = [];
let paused = false;
let answered = null; // when the daemon answered last
let timer = 0;
let token = recall(); // what the daemon asks for, if it does
let locked = false; // until somebody gives the token

/** Storage can be forbidden to a page; the token is then kept in it alone. */
function recall() {
  try {
    return sessionStorage.getItem("token") ?? "";
  } catch {
    return "";
  }
}

function remember() {
  try {
    sessionStorage.setItem("token", token);
  } catch {
    // as recall
  }
}

/** Locked says that the daemon did not take a token, or wants one. */
class Locked extends Error {
  constructor(given) {
    super("a token is needed");
    this.given = given;
  }
}

async function ask(path) {
  const given = token;
  const headers = given ? { Authorization: `Bearer ${given}` } : {};
  const response = await fetch(path, { cache: "no-store", headers, signal: AbortSignal.timeout(patience) });
  if (response.status === 401) {
    throw new Locked(given);
  }
  if (!response.ok) {
    throw new Error(`${path}: ${response.status}`);
  }
  return response.json();
}

async function refresh() {
  clearTimeout(timer);
  if (paused || locked || document.hidden) {
    return;
  }
  const asked = Date.now();
  try {
    const [status, changes, history] = await Promise.all([
      ask("api/v1/status"),
      ask("api/v1/events?n=20"),
      ask(`api/v1/history?after=${samples.at(-1)?.time ?? 0}`),
    ]);
    answered = new Date();
    show(status, history.samples);
    list(byId("changes").querySelector("ol"), changes.events.reverse().map((event) => changeOf(event, clock)));
    unlock();
    lost(false);
  } catch (error) {
    if (error instanceof Locked) {
      if (error.given === token) {
        lock();
      }
      return;
    }
    lost(true);
  }
  timer = setTimeout(refresh, Math.max(0, asked + every - Date.now()));
}

/** Asks the reader for the token. */
function lock() {
  locked = true;
  lost(false);
  document.body.classList.add("locked");
  byId("locked").hidden = false;
  write(byId("refused"), token ? "balance does not take this token." : "");
  byId("token").focus();
}

function unlock() {
  if (!token || byId("locked").hidden) {
    return;
  }
  remember();
  document.body.classList.remove("locked");
  byId("locked").hidden = true;
  byId("token").value = "";
}

function lost(is) {
  document.body.classList.toggle("stale", is);
  const notice = byId("lost");
  notice.hidden = !is;
  if (is) {
    write(notice, answered ? `balance has not answered since ${clock(answered)}. Trying again.` : "balance does not answer. Trying again.");
  }
}

function show(status, fresh) {
  const now = Date.parse(status.now);
  const started = Date.parse(status.started);
  const known = samples.at(-1)?.time ?? 0;
  samples = [...samples, ...fresh.filter(({ time }) => time > known)].filter(({ time }) => time >= now - span - every);
  charts.forEach((chart) => chart.update(samples));
  listeners.update(status.listeners, now);
  verdict(status, now);
  configuration(status, started);
  document.body.classList.toggle("guarded", token !== ""); // a link cannot bear it
  write(byId("clock"), clock(new Date(now)));
  write(byId("about"), `balance ${status.version}, process ${status.pid}, up ${duration((now - started) / 1000)}`);
}

/** Says first what somebody has to know who was woken up for it. */
function verdict(status, now) {
  const channels = status.listeners.flatMap((l) => l.groups.flatMap((g, i) => g.channels.map((c) => ({ ...c, listener: l.name, group: i }))));
  const looking = (...looks) => channels.filter((c) => looks.includes(stateOf(c).look));
  const troubled = looking("warn", "bad");
  const [off, fresh] = [looking("off").length, looking("new").length];
  let look = "good";
  let headline = channels.length === 1 ? "The one channel is up." : `All ${channels.length} channels are up.`;
  if (off + fresh > 0) {
    headline = `${channels.length - off - fresh} of ${channels.length} channels are up` +
      (fresh > 0 ? `, ${fresh} untested` : "") + (off > 0 ? `, ${off} taken out of service` : "") + ".";
  }
  if (troubled.length > 0) {
    look = troubled.some((c) => stateOf(c).look === "bad") ? "bad" : "warn";
    headline = `${troubled.length} of ${channels.length} channels ${troubled.length === 1 ? "needs" : "need"} a look.`;
  }
  const lines = troubled.map((c) => `${c.listener}, group ${c.group}, ${c.channel}: ${stateOf(c).text} (${reasonOf(c, now) || stateOf(c).meaning})`);
  if (status.warnings.length > 0) {
    look = look === "good" ? "warn" : look;
    headline = "balance serves clients, but needs a look.";
    lines.unshift(...status.warnings);
  }
  if (status.problems.length > 0) {
    look = status.stopping ? "warn" : "bad";
    headline = status.stopping ? "balance is shutting down." : "balance is not ready.";
    lines.unshift(...status.problems);
  }
  const shown = lines.slice(0, 8);
  if (lines.length > shown.length) {
    shown.push(`and ${lines.length - shown.length} more`);
  }
  const node = byId("verdict");
  node.className = `notice ${look}`;
  write(node.querySelector(".mark"), look === "good" ? "✓" : "▲");
  write(node.querySelector(".headline"), headline);
  list(node.querySelector(".problems"), shown);
  document.title = look === "good" ? "balance" : `▲ ${headline} – balance`;
}

function configuration(status, started) {
  const last = status.last_reload;
  const facts = [["File", status.file ?? "none: started by arguments"], ["Generation", count(status.generation)]];
  if (last) {
    const when = new Date(last.time).toLocaleString();
    facts.push(["Last reload", last.ok ? `${when}, good` : `${when}, failed: the configuration from before stays in force`]);
  } else {
    facts.push(["Last reload", `none since the start, ${new Date(started).toLocaleString()}`]);
  }
  if (last?.sha256) {
    facts.push(["SHA-256", last.sha256.slice(0, 16) + "…"]);
  }
  const node = byId("configuration").querySelector(".facts");
  const wanted = facts.length * 2;
  while (node.childElementCount > wanted) {
    node.lastElementChild.remove();
  }
  while (node.childElementCount < wanted) {
    node.append(document.createElement(node.childElementCount % 2 === 0 ? "dt" : "dd"));
  }
  facts.flat().forEach((text, i) => write(node.children[i], text));
  node.children[5].classList.toggle("failed", Boolean(last && !last.ok));
  list(byId("configuration").querySelector(".errors"), last?.errors ?? []);
}

function list(node, lines) {
  while (node.childElementCount > lines.length) {
    node.lastElementChild.remove();
  }
  while (node.childElementCount < lines.length) {
    node.append(document.createElement("li"));
  }
  lines.forEach((line, i) => write(node.children[i], line));
}

byId("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.currentTarget.setAttribute("aria-pressed", String(paused));
  write(event.currentTarget, paused ? "Paused" : "Pause");
  refresh();
});
byId("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) { // no header could carry it
    write(byId("refused"), "This cannot be a token.");
    return;
  }
  token = given;
  locked = false;
  refresh();
});
document.addEventListener("visibilitychange", refresh);
write(byId("host"), location.host);
refresh();
