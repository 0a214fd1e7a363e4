// The listeners, with their groups and channels. Nodes are made anew only when
// the configuration changes; otherwise their text is.

import { byteRate, bytes, count, duration, latency, rate } from "./format.js";

/** What the states of a channel look like, and mean. */
const states = {
  up: { look: "good", mark: "●", text: "up", meaning: "in service" },
  untested: { look: "new", mark: "◌", text: "untested", meaning: "in service, but neither a client nor a check has tried it yet" },
  full: { look: "warn", mark: "◆", text: "full", meaning: "in service, but without a free place" },
  "weight 0": { look: "off", mark: "◇", text: "weight 0", meaning: "in service, but gets no new clients" },
  slow: { look: "warn", mark: "◆", text: "slow", meaning: "in service, but was sent bytes and sends none back" },
  failing: { look: "bad", mark: "▲", text: "failing", meaning: "in service, but did not answer when it was tried last" },
  "held off": { look: "bad", mark: "▲", text: "held off", meaning: "did not answer, and is passed over for a while" },
  down: { look: "bad", mark: "✕", text: "down", meaning: "in service, but its check says that it is down" },
  unresolved: { look: "bad", mark: "▲", text: "no address", meaning: "its name has no address" },
  draining: { look: "off", mark: "▼", text: "draining", meaning: "no new sessions; disabled when the last has ended" },
  disabled: { look: "off", mark: "○", text: "disabled", meaning: "by the configuration or the operator" },
  autodisabled: { look: "bad", mark: "✕", text: "failed", meaning: "disabled because connecting to it failed, until it is enabled again" },
  removed: { look: "off", mark: "○", text: "removed", meaning: "in no configuration any more" },
};

/** How long ago a moment was, by the clock of the daemon. */
const ago = (time, now) => duration(Math.max(0, (now - Date.parse(time)) / 1000));

/** Why the channel is in its state, as far as there is something to say. */
export function reasonOf(channel, now) {
  const left = channel.until ? `for another ${duration(Math.max(0, (Date.parse(channel.until) - now) / 1000))}` : "";
  return [left, channel.reason].filter(Boolean).join(": ");
}

/** What the last check found. */
function foundBy(check, reason, now) {
  if (!check) {
    return "";
  }
  if (!check.last) {
    return "not checked yet";
  }
  const { time, took_seconds: took, outcome, answer } = check.last;
  const found = answer === reason ? outcome : answer;
  return `checked ${ago(time, now)} ago in ${latency(took)}: ${found}`;
}

/** A change of a channel, in a line. */
export function changeOf(event, clock) {
  const what = states[event.what]?.text ?? event.what;
  const subject = [event.listener, event.channel, what].filter(Boolean).join(" ");
  return `${clock(new Date(event.time))} ${event.reason ? `${subject}: ${event.reason}` : subject}`;
}

const unknown = { look: "warn", mark: "?", text: "unknown", meaning: "" };

export const stateOf = (channel) => states[channel.state] ?? unknown;

const modes = {
  rr: "in turn",
  hash: "by the client's address",
  leastconn: "the fewest sessions",
  random: "the better of two at random",
  first: "the first with room",
};

const total = (byReason) => Object.values(byReason).reduce((sum, n) => sum + n, 0);

const reasons = (byReason) =>
  Object.entries(byReason).filter(([, n]) => n > 0).map(([reason, n]) => `${count(n)} ${reason}`).join(", ");

function make(name, className = "", ...children) {
  const node = document.createElement(name);
  if (className) {
    node.className = className;
  }
  node.append(...children);
  return node;
}

/** Sets the text of a node, and touches it only if that changes it. */
export function write(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

const columns = [
  ["state", "State"],
  ["channel", "Channel"],
  ["load", "Connections"],
  ["rate", "New"],
  ["bytes", "To channel"],
  ["bytes", "To clients"],
  ["connect", "Connect time"],
  ["errors-of", "Errors"],
];

export class Listeners {
  constructor(root) {
    this.root = root;
    this.shape = null;
    this.views = [];
    this.before = new Map(); // counters of each channel at the last update
    this.at = 0;
  }

  update(listeners, now) {
    const shape = JSON.stringify(listeners.map((l) => [l.name, l.addresses, l.groups.map((g) => [g.mode, g.channels.map((c) => c.channel)])]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.views = listeners.map((l) => new ListenerView(l));
      this.root.replaceChildren(...this.views.map(({ node }) => node));
    }
    const seconds = (now - this.at) / 1000;
    const after = new Map();
    listeners.forEach((listener, i) => {
      const perSecond = (key, counters) => {
        const name = JSON.stringify([listener.name, key]);
        after.set(name, counters);
        const before = this.before.get(name);
        return counters.map((n, k) => (before && seconds > 0 ? Math.max(0, n - before[k]) / seconds : null));
      };
      this.views[i].update(listener, perSecond, now);
    });
    this.before = after;
    this.at = now;
  }
}

class ListenerView {
  constructor(listener) {
    this.tally = make("div", "tally");
    this.open = this.tally.appendChild(make("span"));
    this.fresh = this.tally.appendChild(make("span"));
    this.turned = this.tally.appendChild(make("span"));
    this.waiting = make("span", "waiting"); // stands there while there is a queue, or somebody in it
    const header = make("header", "", make("h2", "", listener.name));
    for (const address of listener.addresses.filter((a) => a !== listener.name)) {
      header.append(make("code", "", address));
    }
    header.append(this.tally);
    this.node = make("section", "card listener", header);
    this.node.setAttribute("aria-label", `Listener ${listener.name}`);
    this.rows = listener.groups.map((group, g) => this.addGroup(group, g));
  }

  addGroup(group, g) {
    const head = make("tr", "", ...columns.map(([name, title]) => make("th", name, title)));
    head.setAttribute("role", "row");
    for (const cell of head.cells) {
      cell.scope = "col";
      cell.setAttribute("role", "columnheader");
    }
    const rows = group.channels.map((channel) => new ChannelRow(channel));
    const body = make("tbody", "", ...rows.map(({ node }) => node));
    const table = make("table", "", make("thead", "", head), body);
    const title = make("h3", "", `Group ${g}, ${modes[group.mode] ?? group.mode}`);
    table.setAttribute("aria-label", title.textContent);
    // The narrow layout is no table to a browser, but still one to a reader.
    table.setAttribute("role", "table");
    this.node.append(make("div", "group", title, table));
    return rows;
  }

  update(listener, perSecond, now) {
    const [accepted] = perSecond("", [listener.accepted]);
    tell(this.open, count(listener.active), "open");
    tell(this.fresh, accepted === null ? "–" : rate(accepted), "new");
    if (listener.queue > 0 || listener.waiting > 0) {
      tell(this.waiting, count(listener.waiting), "waiting");
      this.waiting.title = `of at most ${count(listener.queue)} clients that may wait for a slot`;
      this.tally.insertBefore(this.waiting, this.turned);
    } else {
      this.waiting.remove();
    }
    const rejected = total(listener.rejected);
    tell(this.turned, count(rejected), rejected > 0 ? `turned away (${reasons(listener.rejected)})` : "turned away");
    this.turned.className = rejected > 0 ? "turned some" : "turned";
    listener.groups.forEach((group, g) => {
      group.channels.forEach((channel, i) => {
        const counters = [channel.connections, channel.sent, channel.received];
        this.rows[g][i].update(channel, perSecond(channel.channel, counters), now);
      });
    });
  }
}

function tell(node, value, what) {
  if (node.childNodes.length === 0) {
    node.append(make("b"), make("span"));
  }
  write(node.firstChild, value);
  write(node.lastChild, " " + what);
}

class ChannelRow {
  constructor(channel) {
    const cells = columns.map(([name, title]) => {
      const cell = make("td", name);
      cell.setAttribute("role", "cell");
      if (name !== "state" && name !== "channel") {
        cell.dataset.label = title;
      }
      return cell;
    });
    [this.state, this.channel, this.load, this.fresh, this.sent, this.received, this.connect, this.errors] = cells;
    this.node = make("tr", "", ...cells);
    this.node.setAttribute("role", "row");

    this.chip = this.state.appendChild(make("span", "chip", make("i"), make("span")));
    this.chip.firstChild.setAttribute("aria-hidden", "true");
    this.age = this.state.appendChild(make("small"));
    this.channel.append(make("span", "", channel.channel), make("small"), make("small", "reason"), make("small", "check"));
    this.bar = make("div", "track", make("span"));
    this.bar.setAttribute("aria-hidden", "true");
    this.load.append(make("span"), make("span", "of"), this.bar, make("small"));
    this.errors.append(make("span"), make("small"));
  }

  update(channel, [fresh, sent, received], now) {
    const state = stateOf(channel);
    this.node.className = state.look;
    this.chip.className = `chip ${state.look}`;
    this.chip.title = state.meaning;
    write(this.chip.firstChild, state.mark);
    write(this.chip.lastChild, state.text);

    const addresses = (channel.addresses ?? []).filter((a) => a !== channel.channel.replace(/#\d+$/, ""));
    write(this.channel.children[1], addresses.join(" "));
    write(this.channel.children[2], reasonOf(channel, now));
    write(this.channel.children[3], foundBy(channel.check, channel.reason, now));
    write(this.age, channel.since ? `for ${ago(channel.since, now)}` : "");
    this.age.title = channel.since ? `since ${new Date(channel.since).toLocaleString()}` : "";

    const limited = channel.maxc > 0;
    write(this.load.firstChild, count(channel.active));
    write(this.load.children[1], limited ? ` of ${count(channel.maxc)}` : "");
    this.bar.hidden = !limited;
    const share = limited ? Math.min(channel.active / channel.maxc, 1) : 0;
    this.bar.className = share >= 1 ? "track full" : share >= 0.8 ? "track high" : "track";
    this.bar.firstChild.style.transform = `scaleX(${share})`;
    write(this.load.lastChild, `weight ${count(channel.weight)}, ${Math.round(channel.share)} % of the group`);

    for (const [cell, name, value, format] of [
      [this.fresh, "rate", fresh, rate],
      [this.sent, "bytes", sent, byteRate],
      [this.received, "bytes", received, byteRate],
    ]) {
      write(cell, value === null ? "–" : format(value));
      cell.className = value ? name : `${name} nil`;
    }
    this.fresh.title = `${count(channel.connections)} in all`;
    this.sent.title = `${bytes(channel.sent)} in all`;
    this.received.title = `${bytes(channel.received)} in all`;

    const { count: made, seconds } = channel.connect_duration;
    write(this.connect, made > 0 ? latency(seconds / made) : "–");
    this.connect.className = made > 0 ? "connect" : "connect nil";
    this.connect.title = "on average, since the start";

    const failed = total(channel.connect_errors);
    this.errors.className = failed > 0 ? "errors-of some" : "errors-of nil";
    write(this.errors.firstChild, count(failed));
    write(this.errors.lastChild, reasons(channel.connect_errors));
  }
}
