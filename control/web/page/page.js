// The status page: asks the daemon about once a second, and shows what it answers.

import { Locked, ask, currentToken, remember, useToken } from "./api.js";
import { Chart } from "./chart.js";
import { closeConfiguration, configurationOf, openConfiguration } from "./configuration.js";
import { byId, fill, make, set, write } from "./dom.js";
import { showEvents } from "./events.js";
import { byteRate, clock, count, duration, rate, short } from "./format.js";
import { Listeners, pathOf } from "./listeners.js";
import { askConfirm, askRollback } from "./question.js";
import { closeSessions, openSessions, sessionsOf } from "./sessions.js";
import { nameOf, plural, stateOf, whyOf } from "./words.js";

const every = 1000; // milliseconds
const share = 8; // of the time at least is left to others
const span = 10 * 60 * 1000;
const curvesEvery = 10 * 1000;
const mostLines = 5; // in the banner

const keys = "Arrow keys read out samples.";
const highest = (samples, key) => Math.max(0, ...samples.map((s) => s[key]));

const charts = [
  new Chart(byId("open"), [{ key: "active", format: count }], short, span, (samples) =>
    `Open sessions in the last ten minutes: ${count(samples.at(-1)?.active ?? 0)} now, ${count(highest(samples, "active"))} at most. ${keys}`),
  new Chart(byId("fresh"), [{ key: "connections", format: rate }], short, span, (samples) =>
    `New sessions in the last ten minutes: ${rate(samples.at(-1)?.connections ?? 0)} now, ${rate(highest(samples, "connections"))} at most. ${keys}`),
  new Chart(byId("traffic"), [{ key: "sent", format: byteRate }, { key: "received", format: byteRate }], byteRate, span, (samples) =>
    `Traffic in the last ten minutes: at most ${byteRate(highest(samples, "sent"))} to channels and ${byteRate(highest(samples, "received"))} to clients. ${keys}`),
];
const listeners = new Listeners(byId("listeners"), () => refresh());

let samples = [];
let paused = false;
let answered = null; // when the daemon answered last
let timer = 0;
let asking = 0; // the last question that was put
let locked = false; // until somebody gives the token
let curvesAt = 0; // when the small curves were asked for
let routed = false; // whether what the address names has been shown
let latest = null; // status

async function refresh() {
  clearTimeout(timer);
  if (paused || locked || document.hidden) {
    return;
  }
  const mine = ++asking;
  const asked = Date.now();
  const wantsCurves = asked - curvesAt >= curvesEvery;
  try {
    const [status, changes, history, curves] = await Promise.all([
      ask("api/v1/status"),
      ask("api/v1/events?n=100"),
      ask(`api/v1/history?after=${samples.at(-1)?.time ?? 0}`),
      wantsCurves ? ask("api/v1/curves") : null,
    ]);
    if (mine !== asking) {
      return; // what was asked later has been shown, or will be
    }
    answered = new Date();
    if (curves) {
      curvesAt = asked;
      listeners.curves = new Map(curves.listeners.map(({ name, active }) => [name, active]));
    }
    show(status, history.samples, changes.events);
    unlock();
    lost(false);
  } catch (error) {
    if (mine !== asking) {
      return;
    }
    if (error instanceof Locked) {
      if (error.given === currentToken()) {
        lock();
      }
      return;
    }
    lost(true);
  }
  const took = Date.now() - asked;
  timer = setTimeout(refresh, Math.max(0, every - took, took * (share - 1)));
}

/** Asks the reader for the token. */
function lock() {
  locked = true;
  lost(false);
  document.body.classList.add("locked");
  byId("locked").hidden = false;
  write(byId("refused"), currentToken() ? "balance does not take this token." : "");
  byId("token").focus();
}

function unlock() {
  if (!currentToken() || byId("locked").hidden) {
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

function show(status, fresh, changes) {
  latest = status;
  const now = Date.parse(status.now);
  const started = Date.parse(status.started);
  const known = samples.at(-1)?.time ?? 0;
  samples = [...samples, ...fresh.filter(({ time }) => time > known)].filter(({ time }) => time >= now - span - every);
  const events = showEvents(changes);
  if (view === "overview") {
    charts.forEach((chart) => chart.update(samples, events));
  }
  verdict(status, listeners.update(status, now, events), now);
  confirmation(status, now);
  configurationOf(status);
  sessionsOf(status, paused);
  document.body.classList.toggle("guarded", currentToken() !== ""); // a link cannot bear it
  document.body.classList.toggle("writes", status.http_write === true);
  write(byId("clock"), clock(new Date(now)));
  write(byId("about"), `balance ${status.version}, process ${status.pid}, up ${duration((now - started) / 1000)}`);
  if (!routed) {
    routed = true;
    route();
  }
}

/** Is everything all right? In a sentence, and where not. */
function verdict(status, all, now) {
  const channels = all.flatMap((l) => l.channels);
  const number = (look) => channels.filter((c) => stateOf(c).look === look).length;
  const troubled = all.flatMap((l) => l.troubled);
  const dead = all.filter((l) => !l.usable);
  const [off, fresh] = [number("off"), number("new")];
  let look = "good";
  let headline = `All is well: ${channels.length === 1 ? "the one channel is up" : `all ${count(channels.length)} channels are up`}.`;
  if (off + fresh > 0) {
    headline = `All is well: ${count(channels.length - off - fresh)} of ${plural(channels.length, "channel")} are up` +
      (fresh > 0 ? `, ${count(fresh)} untested` : "") + (off > 0 ? `, ${count(off)} taken out of service` : "") + ".";
  }
  if (channels.length === 0) {
    headline = "There are no channels.";
  }
  if (troubled.length > 0) {
    look = troubled.some((c) => stateOf(c).look === "bad") ? "bad" : "warn";
    headline = `${count(troubled.length)} of ${plural(channels.length, "channel")} ${troubled.length === 1 ? "needs" : "need"} a look; every listener serves its clients.`;
  }
  if (dead.length > 0) {
    look = "bad";
    headline = `${dead.length === 1 ? `Listener ${dead[0].name} serves` : `${count(dead.length)} listeners serve`} nobody.`;
  }
  const lines = [];
  if (status.warnings.length > 0) {
    look = look === "good" ? "warn" : look;
    headline = troubled.length + dead.length > 0 ? headline : "Clients are served, but something needs a look.";
    lines.push(...status.warnings.map((text) => ({ text, to: /reload/.test(text) ? "#/configuration" : "#/" })));
  }
  if (status.problems.length > 0) {
    look = status.stopping ? "warn" : "bad";
    headline = status.stopping ? "balance is shutting down." : dead.length > 0 ? headline : "balance is not ready.";
    lines.unshift(...status.problems.map((text) => ({ text, to: pathOfProblem(text, all) })));
  }
  if (lines.length + troubled.length <= mostLines) {
    lines.push(...troubled.map((c) => ({ text: `${c.listener} ${nameOf(c)}: ${stateOf(c).text}, ${whyOf(c, now)}`, to: pathOf(c.listener, c.channel) })));
  } else {
    const by = all.filter((l) => l.troubled.length > 0).toSorted((a, b) => b.troubled.length - a.troubled.length);
    lines.push(...by.map((l) => ({
      text: `${l.name}: ${count(l.troubled.length)} of ${plural(l.channels.length, "channel")}: ${tally(l.troubled)}`,
      to: pathOf(l.name, l.troubled.length === 1 ? l.troubled[0].channel : undefined),
    })));
  }
  if (lines.length > mostLines) {
    const left = lines.length - mostLines + 1;
    lines.splice(mostLines - 1, Infinity, { text: `and ${count(left)} more`, to: "#/troubled" });
  }
  const node = byId("verdict");
  set(node, "className", `notice ${look}`);
  write(node.querySelector(".mark"), look === "good" ? "✓" : "▲");
  write(node.querySelector(".headline"), headline);
  fill(node.querySelector(".problems"), lines, "li", (item, { text, to }) => {
    const link = item.firstChild ?? item.appendChild(make("a"));
    write(link, text);
    if (link.getAttribute("href") !== to) {
      link.setAttribute("href", to);
    }
  });
  set(document, "title", look === "good" ? "balance" : `▲ ${headline} – balance`);
}

/** 2 down, 1 failing */
function tally(channels) {
  const by = new Map();
  for (const c of channels) {
    by.set(stateOf(c).text, (by.get(stateOf(c).text) ?? 0) + 1);
  }
  return [...by].map(([text, n]) => `${count(n)} ${text}`).join(", ");
}

/** The listener that a problem names, as Go quotes it. */
function pathOfProblem(text, all) {
  const named = all.find(({ name }) => text.includes(JSON.stringify(name)));
  return named ? pathOf(named.name) : "#/";
}

function confirmation(status, now) {
  const node = byId("confirm");
  const { confirm } = status;
  set(node, "hidden", !confirm);
  if (confirm) {
    const left = Math.max(0, (Date.parse(confirm.until) - now) / 1000);
    write(node.querySelector("p"), `Change ${count(confirm.change)} (${confirm.why}, by ${confirm.by}) is undone by itself in ${duration(left)}, unless somebody confirms it. Configuration ${count(confirm.back_to)} comes back then.`);
  }
}

let view = "overview";

/** Shows what the address names: #/, #/channel/LISTENER/CHANNEL, #/sessions, … */
function route() {
  let [where = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  try {
    rest = rest.map(decodeURIComponent);
  } catch {
    rest = [];
  }
  const before = view;
  view = ["sessions", "configuration"].includes(where) ? where : "overview";
  for (const one of ["overview", "sessions", "configuration"]) {
    byId(one).hidden = one !== view;
  }
  for (const link of byId("views").children) {
    const is = link.getAttribute("href") === (view === "overview" ? "#/" : `#/${view}`);
    if (is) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  if (!latest) {
    return;
  }
  view === "sessions" ? openSessions(...rest) : closeSessions();
  if (view === "configuration") {
    openConfiguration();
    configurationOf(latest);
  } else {
    closeConfiguration();
  }
  if (where === "troubled") {
    byId("troubled").checked = true;
    byId("troubled").dispatchEvent(new Event("input"));
    byId("listeners").scrollIntoView();
  }
  if (where === "listener" || where === "channel") {
    listeners.choose(rest[0], where === "channel" ? rest[1] : undefined);
  } else if (before !== view) {
    scrollTo(0, 0);
  }
}

byId("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.currentTarget.setAttribute("aria-pressed", String(paused));
  write(event.currentTarget, paused ? "Paused" : "Pause");
  if (latest) {
    sessionsOf(latest, paused);
  }
  refresh();
});
byId("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) { // no header could carry it
    write(byId("refused"), "This cannot be a token.");
    return;
  }
  useToken(given);
  locked = false;
  refresh();
});
byId("confirm").addEventListener("click", ({ target }) => {
  if (target.dataset.act === "confirm") {
    askConfirm(refresh);
  } else if (target.dataset.act === "rollback") {
    askRollback(0, refresh);
  }
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    location.hash = "#/";
    byId("filter").focus();
  } else if (event.key === "Escape" && event.target.id === "filter") {
    event.target.value = "";
    event.target.dispatchEvent(new Event("input"));
  }
});
document.addEventListener("click", ({ target }) => {
  if (target.closest("a")?.getAttribute("href") === location.hash) { // which is no change
    route();
  }
});
document.addEventListener("visibilitychange", refresh);
addEventListener("hashchange", route);
write(byId("host"), location.host);
route();
refresh();
