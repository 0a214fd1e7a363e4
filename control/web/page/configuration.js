// The configuration in force, those before it, and what came of the last reload.

import { ask } from "./api.js";
import { button, byId, facts, fill, make, write } from "./dom.js";
import { count } from "./format.js";
import { askRollback } from "./question.js";
import { plural } from "./words.js";

const root = byId("configuration");
const settings = byId("settings");
const filter = byId("settings-filter");
let generation = -1; // of what is shown
let visible = false;
let mayWrite = false;

/** Takes over what the daemon says in its status. */
export function configurationOf(status) {
  const last = status.last_reload;
  const list = root.querySelector(".facts");
  const pairs = [["File", status.file ?? "none: started by arguments"], ["Generation", count(status.generation)]];
  if (last) {
    const when = new Date(last.time).toLocaleString();
    pairs.push(["Last reload", last.ok ? `${when}, good` : `${when}, failed: the configuration from before stays in force`]);
  } else {
    pairs.push(["Last reload", `none since the start, ${new Date(status.started).toLocaleString()}`]);
  }
  if (status.file_differs) {
    pairs.push(["The file", "says something else than what is in force"]);
  }
  if (last?.sha256) {
    pairs.push(["SHA-256", last.sha256]);
  }
  facts(list, pairs);
  list.children[5].classList.toggle("failed", Boolean(last && !last.ok));
  fill(root.querySelector(".errors"), last?.errors ?? [], "li", write);
  mayWrite = status.http_write === true;
  if (visible && status.generation !== generation) {
    generation = status.generation;
    load();
  }
}

export function openConfiguration() {
  visible = true;
  generation = -1;
}

export function closeConfiguration() {
  visible = false;
}

async function load() {
  try {
    show(await ask("api/v1/config"));
    narrow();
  } catch (error) {
    settings.replaceChildren(make("p", "problem bad", error.message));
  }
  try {
    past(await ask("api/v1/configurations"));
  } catch {
    byId("past").hidden = true; // this daemon keeps none
  }
}

const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isTables = (value) => Array.isArray(value) && value.some(isTable);

/** A value as the file has it. */
function literal(value) {
  if (isTable(value)) {
    const names = Object.keys(value);
    return names.length > 0 ? `{ ${names.map((name) => `${name} = …`).join(", ")} }` : "{}";
  }
  return Array.isArray(value) ? `[${value.map(literal).join(", ")}]` : JSON.stringify(value);
}

/** The settings of a table that are of its own, as terms. */
function own(table) {
  const list = make("dl", "settings");
  for (const [key, value] of Object.entries(table)) {
    if (!isTables(value) && !(isTable(value) && key === "check")) {
      list.append(make("div", "", make("dt", "", key), make("dd", "", literal(value))));
    }
  }
  return list;
}

function fold(title, open, ...children) {
  const node = make("details", "", make("summary", "", title), ...children);
  node.open = open;
  return node;
}

function show(config) {
  const nodes = [];
  for (const [key, value] of Object.entries(config)) {
    if (isTable(value)) {
      nodes.push(fold(`[${key}]`, false, own(value)));
    }
  }
  const listeners = config.listener ?? [];
  for (const l of listeners) {
    const groups = (l.group ?? []).map((group, g) => fold(`group ${g}: ${literal(group.mode)}, ${count(group.channels?.length ?? 0)} channels`, true,
      own(group), checkOf(group),
      channels(group.channels ?? [])));
    nodes.push(fold(`[[listener]] ${l.name}`, listeners.length === 1, own(l), checkOf(l), ...groups));
  }
  settings.replaceChildren(...nodes);
}

function checkOf(table) {
  return isTable(table.check) ? fold(`check: ${literal(table.check.type)}`, false, own(table.check)) : "";
}

function channels(list) {
  const keys = [...new Set(list.flatMap((c) => Object.keys(c)))];
  const head = make("tr", "", ...keys.map((key) => make("th", "", key)));
  [...head.cells].forEach((cell) => { cell.scope = "col"; });
  const rows = list.slice(0, 500).map((c) => make("tr", "", ...keys.map((key) => make("td", "", key in c ? literal(c[key]).replace(/^"|"$/g, "") : ""))));
  const wrap = make("div", "scroll", make("table", "plain", make("thead", "", head), make("tbody", "", ...rows)));
  wrap.tabIndex = 0;
  wrap.setAttribute("role", "region");
  wrap.setAttribute("aria-label", "Channels");
  return wrap;
}

filter.addEventListener("input", narrow);

/** Leaves what has the words of the filter in it. */
function narrow() {
  const word = filter.value.trim().toLowerCase();
  const fits = (node) => word === "" || node.textContent.toLowerCase().includes(word);
  for (const node of settings.querySelectorAll(".settings > div, tbody tr")) {
    node.hidden = !fits(node);
  }
  for (const node of settings.querySelectorAll("details")) {
    node.hidden = !fits(node);
    node.open = word ? fits(node) : node.open;
  }
}

/** The configurations that were in force, the latest first, and what each changed. */
function past(configurations) {
  byId("past").hidden = configurations.length === 0;
  fill(byId("past").querySelector("ol"), configurations.toReversed(), "li", (node, c) => {
    const id = [c.number, c.in_force, mayWrite].join();
    if (node.dataset.id === id) {
      return;
    }
    node.dataset.id = id;
    const diff = make("pre", "diff");
    diff.tabIndex = 0;
    const details = fold("", false, diff);
    details.firstChild.append(make("b", "", `${count(c.number)} `), new Date(c.time).toLocaleString(), " ", make("span", "muted",
      [c.why, c.by && `by ${c.by}`, plural(c.changes, "change"), c.in_force && "in force"].filter(Boolean).join(", ")));
    details.addEventListener("toggle", () => details.open && compare(diff, c));
    node.replaceChildren(details, ...(mayWrite && !c.in_force ? [button("Go back to it…", "small", () => askRollback(c.number, load))] : []));
  });
}

async function compare(node, { number, in_force: inForce }) {
  try {
    const { before, changed, rollback } = await ask(`api/v1/configurations/${number}`);
    const title = (text) => make("b", "", text + "\n");
    node.replaceChildren(
      title(before ? `What it changed from ${count(before)}` : "The one before it is not kept"), ...lines(changed), ...(changed.length === 0 ? ["nothing\n"] : []),
      ...(inForce ? [] : [title("\nWhat going back to it would change now"), ...lines(rollback), ...(rollback.length === 0 ? ["nothing\n"] : [])]));
  } catch (error) {
    write(node, error.message);
  }
}

/** Changes as lines, each with its sign, as the command diff has them. */
function lines(changes) {
  return changes.map((c) => {
    const value = c.old !== undefined || c.new !== undefined ? (c.sign === "~" ? `${c.old ?? ""} → ${c.new ?? ""}` : c.new ?? c.old) : "";
    const text = [c.sign, c.listener, c.group !== undefined && `group ${c.group}`, c.channel && `channel ${c.channel}`, c.key, value, c.detail]
      .filter((part) => part || part === 0).join(" ");
    return make("span", { "+": "added", "-": "removed", "~": "changed" }[c.sign] ?? "", text + "\n");
  });
}
