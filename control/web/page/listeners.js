// The listeners, a cell each, and their channels where one is unfolded. Only what
// can be seen is made: there may be very many of both.

import { Chart, Spark } from "./chart.js";
import { arrange, button, facts, make, mark, set, write } from "./dom.js";
import { byteRate, bytes, count, latency, rate, short } from "./format.js";
import { actNames, askChannel, channelActs } from "./question.js";
import { ask, query } from "./api.js";
import { ago, foundBy, isTroubled, modes, nameOf, plural, rankOf, reasons, stateOf, total, whyOf } from "./words.js";

const page = 60; // cells, and channels of a listener, that are shown at once
const few = 6; // channels that are not worth folding
const unfolded = 3; // troubled listeners that unfold by themselves
const span = 10 * 60 * 1000;
const points = 60; // of a small curve

export const pathOf = (listener, channel) =>
  "#/" + (channel === undefined ? ["listener", listener] : ["channel", listener, channel]).map(encodeURIComponent).join("/");

/** What a listener comes to, over all its channels. */
function digest(listener, index, rates) {
  const channels = listener.groups.flatMap((group, g) => group.channels.map((c) => ({ ...c, group: g, listener: listener.name })));
  const looks = channels.map((c) => stateOf(c).look);
  const number = (...which) => looks.filter((look) => which.includes(look)).length;
  const troubled = channels.filter(isTroubled);
  const usable = listener.usable !== false;
  let look = troubled.some((c) => stateOf(c).look === "bad") || !usable ? "bad" : troubled.length > 0 ? "warn" : "good";
  if (look === "good" && number("good") === 0) {
    look = number("new") > 0 ? "new" : "off";
  }
  return {
    ...listener, index, channels, troubled, look, usable,
    up: number("good", "warn"),
    untested: number("new"),
    off: number("off"),
    spare: channels.some((c) => c.group > 0 && c.active > 0),
    fresh: rates(listener.name, "")?.[0] ?? null,
    traffic: channels.reduce((sum, c) => sum + (rates(listener.name, c.channel)?.slice(1).reduce((a, b) => a + b, 0) ?? 0), 0),
  };
}

const text = (listener, channel) =>
  [listener.name, ...(listener.addresses ?? []), ...(channel ? [channel.name, channel.channel, ...(channel.addresses ?? []), stateOf(channel).text, channel.reason] : [])]
    .filter(Boolean).join(" ").toLowerCase();

const orders = {
  trouble: (a, b) => rankOf(a.look) - rankOf(b.look) || b.troubled.length - a.troubled.length || a.index - b.index,
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  active: (a, b) => b.active - a.active || a.index - b.index,
  fresh: (a, b) => b.fresh - a.fresh || a.index - b.index,
  traffic: (a, b) => b.traffic - a.traffic || a.index - b.index,
};

export class Listeners {
  /** refresh asks the daemon at once. */
  constructor(root, refresh) {
    this.root = root;
    this.refresh = refresh;
    this.cells = root.querySelector(".cells");
    this.shown = root.querySelector(".shown");
    this.more = root.querySelector(":scope > .more");
    this.filter = root.querySelector("#filter");
    this.sort = root.querySelector("#sort");
    this.only = root.querySelector("#troubled");
    this.views = new Map(); // by name
    this.wished = new Map(); // name → whether somebody unfolded it, or folded it
    this.curves = new Map();
    this.before = new Map(); // counters at the last update
    this.rates = new Map();
    this.at = 0;
    this.limit = page;
    this.listeners = [];
    this.order = [];
    this.chosen = null; // {listener, channel} whose curves are shown
    this.events = [];
    for (const control of [this.filter, this.sort, this.only]) {
      control.addEventListener("input", () => {
        this.limit = page;
        this.order = [];
        this.draw();
      });
    }
    this.more.addEventListener("click", () => {
      this.limit += page;
      this.draw();
    });
  }

  update(status, now, events) {
    this.measure(status.listeners, now);
    this.now = now;
    this.write = status.http_write === true;
    this.events = events;
    this.listeners = status.listeners.map((l, i) => digest(l, i, (name, key) => this.rates.get(JSON.stringify([name, key]))));
    this.draw();
    return this.listeners;
  }

  /** What each counter grows by in a second. */
  measure(listeners, now) {
    const seconds = (now - this.at) / 1000;
    const [after, rates] = [new Map(), new Map()];
    const add = (name, key, counters) => {
      const id = JSON.stringify([name, key]);
      after.set(id, counters);
      const before = this.before.get(id);
      if (before && seconds > 0) {
        rates.set(id, counters.map((n, i) => Math.max(0, n - before[i]) / seconds));
      }
    };
    for (const l of listeners) {
      add(l.name, "", [l.accepted]);
      for (const c of l.groups.flatMap((g) => g.channels)) {
        add(l.name, c.channel, [c.connections, c.sent, c.received]);
      }
    }
    if (seconds !== 0) {
      [this.before, this.rates, this.at] = [after, rates, now];
    }
  }

  /** Shows a listener, or one of its channels and its curves. */
  choose(listener, channel) {
    this.chosen = { listener, channel };
    this.wished.set(listener, true);
    this.order = [];
    const found = this.listeners.find(({ name }) => name === listener);
    const words = this.filter.value.trim().toLowerCase();
    if (found && words && !text(found).includes(words)) {
      this.filter.value = "";
    }
    if (found && this.only.checked && found.troubled.length === 0) {
      this.only.checked = false;
    }
    this.draw();
    const view = this.views.get(listener);
    if (view) {
      view.reveal(channel);
    }
  }

  /** What is to be shown, in its order. What somebody points at does not move. */
  select() {
    const words = this.filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (t) => words.every((word) => t.includes(word));
    const listed = [];
    for (const l of this.listeners) {
      const whole = words.length === 0 || fits(text(l));
      const channels = l.channels.filter((c) => (whole || fits(text(l, c))) && (!this.only.checked || isTroubled(c)));
      if (channels.length > 0 || (whole && (!this.only.checked || !l.usable))) {
        listed.push({ ...l, listed: channels, narrowed: words.length > 0 && !whole });
      }
    }
    listed.sort(orders[this.sort.value]);
    const busy = this.cells.matches(":hover") || this.cells.contains(document.activeElement);
    if (busy && this.order.length > 0) {
      const at = new Map(this.order.map((name, i) => [name, i]));
      listed.sort((a, b) => (at.get(a.name) ?? Infinity) - (at.get(b.name) ?? Infinity) || 0);
    }
    this.order = listed.map(({ name }) => name);
    return listed;
  }

  draw() {
    const listed = this.select();
    const wanted = listed.findIndex(({ name }) => name === this.chosen?.listener);
    const visible = listed.slice(0, Math.max(this.limit, wanted + 1));
    let open = 0;
    for (const l of visible) {
      let view = this.views.get(l.name);
      if (!view) {
        view = new ListenerView(this, l.name);
        this.views.set(l.name, view);
      }
      const byItself = l.narrowed || this.listeners.length === 1 || (["bad", "warn"].includes(l.look) && open < unfolded);
      const unfold = this.wished.get(l.name) ?? byItself;
      open += unfold ? 1 : 0;
      view.update(l, unfold, this.now);
    }
    arrange(this.cells, visible.map(({ name }) => this.views.get(name).node));
    for (const name of this.views.keys()) {
      if (!this.order.includes(name)) {
        this.views.delete(name);
      }
    }
    const hidden = listed.length - visible.length;
    set(this.more, "hidden", hidden <= 0);
    write(this.more, `Show ${Math.min(page, hidden)} more of ${count(hidden)}`);
    const all = this.listeners.reduce((sum, l) => sum + l.channels.length, 0);
    const some = listed.reduce((sum, l) => sum + l.listed.length, 0);
    const narrowed = some < all || listed.length < this.listeners.length;
    write(this.shown, narrowed
      ? `${count(listed.length)} of ${count(this.listeners.length)}, ${count(some)} of ${plural(all, "channel")}`
      : `${count(this.listeners.length)}, ${plural(all, "channel")}`);
  }

  rateOf(listener, key) {
    return this.rates.get(JSON.stringify([listener, key])) ?? null;
  }
}

class ListenerView {
  constructor(owner, name) {
    this.owner = owner;
    this.name = name;
    this.rows = new Map();
    this.limit = page;
    this.all = false; // show the calm channels of a troubled listener too

    this.mark = make("i", "mark");
    this.mark.setAttribute("aria-hidden", "true");
    this.title = make("span", "name", name);
    this.button = make("button", "fold", this.mark, this.title);
    this.button.type = "button";
    this.button.addEventListener("click", () => {
      owner.wished.set(name, this.button.getAttribute("aria-expanded") !== "true");
      owner.draw();
    });
    this.heading = make("h3", "", this.button);
    this.addresses = make("span", "addresses muted");
    this.up = make("span", "up");
    this.spare = make("span", "badge warn", "spare in use");
    this.notes = make("span", "notes muted");
    this.active = make("b");
    this.load = make("span", "load", this.active, make("span", "muted"));
    this.spark = new Spark();
    this.head = make("div", "head", this.heading, this.addresses, make("p", "words", this.up, this.spare, this.notes), this.load, this.spark.node);
    this.head.addEventListener("click", (event) => {
      if (!event.target.closest("a, button")) {
        this.button.click();
      }
    });
    this.body = make("div", "body");
    this.more = button("", "more", () => {
      if (this.all || !this.folds) {
        this.limit += page;
      }
      this.all = true;
      owner.draw();
    });
    this.node = make("article", "cell", this.head);
    this.node.setAttribute("aria-label", `Listener ${name}`);
  }

  update(l, unfold, now) {
    set(this.node, "className", `cell ${l.look}${unfold ? " open" : ""}`);
    write(this.mark, { good: "●", warn: "◆", bad: "▲", off: "○", new: "◌" }[l.look]);
    mark(this.button, "aria-expanded", unfold);
    write(this.addresses, l.addresses.filter((a) => a !== l.name).join(" "));
    write(this.up, l.usable ? `${count(l.up)} of ${count(l.channels.length)} up` : "serves nobody");
    set(this.spare, "hidden", !l.spare);
    const rejected = total(l.rejected);
    const refused = total(l.refused);
    write(this.notes, [
      l.off > 0 ? `${count(l.off)} out of service` : "",
      l.untested > 0 ? `${count(l.untested)} untested` : "",
      l.queue > 0 || l.waiting > 0 ? `${count(l.waiting)} waiting` : "",
      unfold && l.fresh !== null ? `${rate(l.fresh)} new` : "",
      unfold && rejected > 0 ? `${count(rejected)} turned away (${reasons(l.rejected)})` : "",
      unfold && refused > 0 ? `${count(refused)} refused (${reasons(l.refused)})` : "",
      l.greeting > 0 ? `${count(l.greeting)} of at most ${count(l.max_greeting)} greeting` : "",
    ].filter(Boolean).join(" · "));
    write(this.active, count(l.active));
    write(this.load.lastChild, `${l.max_sessions > 0 ? ` of ${count(l.max_sessions)}` : ""} ${l.active === 1 ? "session" : "sessions"}`);
    this.spark.draw([...(this.owner.curves.get(l.name) ?? []), l.active].slice(-points), points);
    if (!unfold) {
      this.body.remove();
      return;
    }
    this.unfold(l, now);
    if (this.body.parentNode !== this.node) {
      this.node.append(this.body);
    }
  }

  unfold(l, now) {
    const chosen = this.owner.chosen?.listener === l.name ? this.owner.chosen.channel : undefined;
    const byTrouble = this.owner.sort.value === "trouble";
    this.folds = l.listed.length > few && l.troubled.length > 0 && l.troubled.length < l.listed.length && !l.narrowed;
    let channels = l.listed;
    if (this.folds && !this.all) {
      channels = channels.filter((c) => isTroubled(c) || c.channel === chosen);
    }
    const sorts = {
      trouble: (a, b) => rankOf(stateOf(a).look) - rankOf(stateOf(b).look),
      name: (a, b) => nameOf(a).localeCompare(nameOf(b), undefined, { numeric: true }),
      active: (a, b) => b.active - a.active,
    };
    if (!byTrouble || channels.length > page) {
      channels = channels.toSorted((a, b) => a.group - b.group || (sorts[this.owner.sort.value]?.(a, b) ?? 0));
    }
    const wanted = channels.findIndex((c) => c.channel === chosen);
    const visible = channels.slice(0, Math.max(this.limit, wanted + 1));
    const groups = new Map();
    for (const c of visible) {
      groups.set(c.group, [...(groups.get(c.group) ?? []), c]);
    }
    const tables = [];
    for (const [g, list] of groups) {
      const id = `group ${g}`;
      let table = this.rows.get(id);
      if (!table) {
        table = new GroupTable(this, g);
        this.rows.set(id, table);
      }
      table.update(l, l.groups[g], list, chosen, now);
      tables.push(table.node);
    }
    const hidden = l.listed.length - visible.length;
    const calm = this.folds && !this.all;
    write(this.more, calm ? `Show the ${plural(hidden, "calm channel")} too` : `Show ${Math.min(page, hidden)} more of ${count(hidden)}`);
    arrange(this.body, hidden > 0 ? [...tables, this.more] : tables);
    for (const [id, table] of this.rows) {
      if (!tables.includes(table.node)) {
        this.rows.delete(id);
      }
    }
  }

  reveal(channel) {
    const row = [...this.rows.values()].map((table) => table.rows.get(channel)).find(Boolean);
    const target = row?.node ?? this.node;
    target.scrollIntoView({ block: "center" });
    (row?.button ?? this.button).focus({ preventScroll: true });
  }
}

const columns = [
  ["state", "State"],
  ["channel", "Channel"],
  ["load", "Sessions"],
  ["weight", "Weight"],
  ["rate", "New"],
  ["bytes", "To channel"],
  ["bytes", "To clients"],
  ["connect", "Connect"],
  ["errors-of", "Errors"],
];

class GroupTable {
  constructor(view, group) {
    this.view = view;
    this.rows = new Map();
    const head = make("tr", "", ...columns.map(([name, title]) => make("th", name, title)));
    head.setAttribute("role", "row");
    for (const cell of head.cells) {
      cell.scope = "col";
      cell.setAttribute("role", "columnheader");
    }
    const header = make("thead", "", head);
    header.setAttribute("role", "rowgroup");
    this.body = make("tbody");
    this.body.setAttribute("role", "rowgroup");
    this.table = make("table", "", header, this.body);
    // The narrow layout is no table to a browser, but still one to a reader.
    this.table.setAttribute("role", "table");
    this.title = make("h4");
    this.group = group;
    this.node = make("div", "group", this.title, this.table);
  }

  update(listener, group, channels, chosen, now) {
    const title = `${this.group === 0 ? "Group 0" : `Group ${this.group}, spare`}, ${modes[group.mode] ?? group.mode}`;
    write(this.title, title);
    mark(this.table, "aria-label", `${listener.name}, ${title}`);
    const nodes = [];
    for (const channel of channels) {
      let row = this.rows.get(channel.channel);
      if (!row) {
        row = new ChannelRow(this.view.owner, listener.name, channel.channel);
        this.rows.set(channel.channel, row);
      }
      row.update(channel, channel.channel === chosen, now);
      nodes.push(row.node, ...(row.detail ? [row.detail.node] : []));
    }
    arrange(this.body, nodes);
    const kept = new Set(channels.map(({ channel }) => channel));
    for (const key of this.rows.keys()) {
      if (!kept.has(key)) {
        this.rows.delete(key);
      }
    }
  }
}

class ChannelRow {
  constructor(owner, listener, key) {
    this.owner = owner;
    this.listener = listener;
    this.key = key;
    this.detail = null;
    const cells = columns.map(([name, title]) => {
      const cell = make("td", name);
      cell.setAttribute("role", "cell");
      if (name !== "state" && name !== "channel") {
        cell.dataset.label = title;
      }
      return cell;
    });
    [this.state, this.channel, this.load, this.weight, this.fresh, this.sent, this.received, this.connect, this.errors] = cells;
    this.node = make("tr", "", ...cells);
    this.node.setAttribute("role", "row");
    this.node.addEventListener("click", (event) => {
      if (!event.target.closest("a, button") && getSelection().isCollapsed) {
        this.toggle();
      }
    });
    this.chip = this.state.appendChild(make("span", "chip", make("i"), make("span")));
    this.chip.firstChild.setAttribute("aria-hidden", "true");
    this.age = this.state.appendChild(make("small"));
    this.button = button("", "link", () => this.toggle());
    this.where = make("small", "where");
    this.why = make("small", "why");
    this.channel.append(this.button, this.where, this.why);
    this.bar = make("div", "track", make("span"));
    this.bar.setAttribute("aria-hidden", "true");
    this.load.append(make("span"), make("span", "of"), this.bar);
    this.errors.append(make("span"), make("small"));
  }

  toggle() {
    const open = this.owner.chosen?.listener === this.listener && this.owner.chosen.channel === this.key;
    this.owner.chosen = open ? null : { listener: this.listener, channel: this.key };
    history.replaceState(null, "", open ? "#/" : pathOf(this.listener, this.key));
    this.owner.draw();
  }

  update(channel, chosen, now) {
    const state = stateOf(channel);
    set(this.node, "className", `${state.look}${chosen ? " chosen" : ""}`);
    set(this.chip, "className", `chip ${state.look}`);
    set(this.chip, "title", state.meaning);
    write(this.chip.firstChild, state.mark);
    write(this.chip.lastChild, state.text);
    write(this.age, channel.since ? `for ${ago(channel.since, now)}` : "");
    write(this.button, nameOf(channel));
    mark(this.button, "aria-expanded", chosen);
    const addresses = (channel.addresses ?? []).filter((a) => a !== channel.channel.replace(/#\d+$/, ""));
    write(this.where, [channel.name ? channel.channel : "", ...addresses].filter(Boolean).join(" "));
    write(this.why, whyOf(channel, now));

    const limited = channel.maxc > 0;
    write(this.load.firstChild, count(channel.active));
    write(this.load.children[1], limited ? ` of ${count(channel.maxc)}` : "");
    set(this.bar, "hidden", !limited);
    const share = limited ? Math.min(channel.active / channel.maxc, 1) : 0;
    set(this.bar, "className", share >= 1 ? "track full" : share >= 0.8 ? "track high" : "track");
    const scale = `scaleX(${share})`;
    if (this.bar.firstChild.style.transform !== scale) {
      this.bar.firstChild.style.transform = scale;
    }
    write(this.weight, `${count(channel.weight)} · ${Math.round(channel.share)} %`);
    set(this.weight, "title", `weight ${channel.weight}, ${Math.round(channel.share)} % of the sessions of its group`);

    const [fresh, sent, received] = this.owner.rateOf(this.listener, this.key) ?? [null, null, null];
    for (const [cell, name, value, format] of [
      [this.fresh, "rate", fresh, rate],
      [this.sent, "bytes", sent, byteRate],
      [this.received, "bytes", received, byteRate],
    ]) {
      write(cell, value === null ? "–" : format(value));
      set(cell, "className", value ? name : `${name} nil`);
    }
    const { count: made, seconds } = channel.connect_duration;
    write(this.connect, made > 0 ? latency(seconds / made) : "–");
    set(this.connect, "className", made > 0 ? "connect" : "connect nil");
    const failed = total(channel.connect_errors);
    set(this.errors, "className", failed > 0 ? "errors-of some" : "errors-of nil");
    write(this.errors.firstChild, count(failed));
    write(this.errors.lastChild, reasons(channel.connect_errors).replace(/^[\d,]+ (\D*)$/, "$1"));

    if (!chosen) {
      this.detail = null;
      return;
    }
    this.detail ??= new Detail(this.owner, this.listener, this.key);
    this.detail.update(channel, { fresh, sent, received }, now);
  }
}

/** All that there is about one channel, with its curves. */
class Detail {
  constructor(owner, listener, key) {
    this.owner = owner;
    this.listener = listener;
    this.key = key;
    this.samples = [];
    this.facts = make("dl", "facts");
    this.acts = make("p", "acts");
    const figure = (title, terms) => {
      const node = make("figure", "", make("figcaption", "", make("h5", "", title), make("p", "when muted num")), make("dl", "figures"));
      for (const [term, of, line] of terms) {
        const value = make("dd", "", "–");
        value.dataset.of = of;
        node.lastChild.append(make("div", "", make("dt", "", make("i", `key ${line}`), term), value));
      }
      return node;
    };
    const figures = [
      figure("Sessions", [["open", "active", "one"]]),
      figure("New", [["a second", "connections", "one"]]),
      figure("Traffic", [["to channel", "sent", "one"], ["to clients", "received", "two"]]),
    ];
    const say = (what) => () => `${what} of ${key} in the last ten minutes. Arrow keys read out samples.`;
    this.charts = [
      new Chart(figures[0], [{ key: "active", format: count }], short, span, say("Sessions")),
      new Chart(figures[1], [{ key: "connections", format: rate }], short, span, say("New sessions")),
      new Chart(figures[2], [{ key: "sent", format: byteRate }, { key: "received", format: byteRate }], byteRate, span, say("Traffic")),
    ];
    const cell = make("td", "", make("div", "small charts", ...figures), this.facts, this.acts);
    cell.colSpan = columns.length;
    cell.setAttribute("role", "cell");
    this.node = make("tr", "detail", cell);
    this.node.setAttribute("role", "row");
    this.load();
  }

  async load() {
    try {
      const { samples } = await ask(query("api/v1/history", { listener: this.listener, channel: this.key }));
      const first = this.samples[0]?.time ?? Infinity;
      this.samples = [...samples.filter(({ time }) => time < first), ...this.samples];
      this.owner.draw();
    } catch {
      // What is seen from now on is drawn.
    }
  }

  update(channel, { fresh, sent, received }, now) {
    if (fresh !== null && (this.samples.at(-1)?.time ?? 0) < now) {
      this.samples.push({ time: now, active: channel.active, connections: fresh, sent, received });
      this.samples = this.samples.filter(({ time }) => time > now - span);
    }
    const marks = this.owner.events.filter((e) => e.listener === this.listener && (!e.channel || e.channel === this.key));
    this.charts.forEach((chart) => chart.update(this.samples, marks));
    facts(this.facts, [
      ["State", `${stateOf(channel).text}: ${whyOf(channel, now) || stateOf(channel).meaning}`],
      ["Check", foundBy(channel.check, now)],
      ["Addresses", (channel.addresses ?? []).join(" ") || "none"],
      ["Weight", `${count(channel.weight)}, ${Math.round(channel.share)} % of the sessions of its group`],
      ["Queue", channel.waiting > 0 ? `${plural(channel.waiting, "client")} could be given it` : "nobody waits for it"],
      ["So far", `${plural(channel.connections, "session")}, ${bytes(channel.sent)} to it, ${bytes(channel.received)} to clients`],
      ["Errors", reasons(channel.connect_errors) || "none"],
    ]);
    const wanted = ["sessions", ...(this.owner.write ? channelActs(channel) : [])];
    if (wanted.join() !== this.wanted) {
      this.wanted = wanted.join();
      const link = make("a", "", "Its sessions");
      link.href = "#/sessions/" + [this.listener, this.key].map(encodeURIComponent).join("/");
      this.acts.replaceChildren(link, ...wanted.slice(1).map((act) =>
        button(actNames[act], "", () => askChannel(act, this.listener, this.current, this.owner.refresh))));
    }
    this.current = channel;
  }
}
