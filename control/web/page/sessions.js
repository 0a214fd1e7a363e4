// The sessions, as far as they are asked for, in a table that can be sorted.

import { ask, query } from "./api.js";
import { button, byId, fill, make, mark, set, write } from "./dom.js";
import { bytes, count, duration } from "./format.js";
import { askClose } from "./question.js";

const limit = 500; // that are asked for, and shown, at once
const every = 3000; // milliseconds

const root = byId("sessions");
const [listener, channel, client] = ["of-listener", "of-channel", "of-client"].map(byId);
const problem = root.querySelector(".problem");

const columns = [
  { key: "id", title: "Session", format: count, number: true },
  { key: "client", title: "Client" },
  { key: "listener", title: "Listener" },
  { key: "channel", title: "Channel" },
  { key: "state", title: "State" },
  { key: "age_seconds", title: "Age", format: duration, number: true },
  { key: "idle_seconds", title: "Idle", format: duration, number: true },
  { key: "sent", title: "To channel", format: bytes, number: true },
  { key: "received", title: "To client", format: bytes, number: true },
];

const end = {}; // the column to end a session in

let sorted = { key: "id", down: false };
let sessions = [];
let timer = 0;
let visible = false;
let paused = false;
let mayWrite = false;
let asking = 0; // the last question that was put
let known = []; // names of listeners

for (const column of columns) {
  const head = make("th", column.number ? "num" : "", button(column.title, "sort", () => {
    sorted = { key: column.key, down: sorted.key === column.key ? !sorted.down : Boolean(column.number && column.key !== "id") };
    draw();
  }));
  head.scope = "col";
  root.querySelector("thead tr").append(head);
}
const actions = make("th", "", make("span", "out", "Act"));
actions.scope = "col";
root.querySelector("thead tr").append(actions);

for (const control of [listener, channel, client]) {
  control.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(load, 250);
  });
}

/** Shows the view, of a listener and a channel if they are given. */
export function openSessions(ofListener, ofChannel) {
  visible = true;
  if (ofListener !== undefined) {
    offer([...new Set([...known, ofListener])]);
    listener.value = ofListener;
    channel.value = ofChannel ?? "";
  }
  load();
}

export function closeSessions() {
  visible = false;
  clearTimeout(timer);
}

function offer(names) {
  if (names.join("\n") === known.join("\n")) {
    return;
  }
  known = names;
  const value = listener.value;
  listener.replaceChildren(new Option("All listeners", ""), ...names.map((name) => new Option(name, name)));
  listener.value = names.includes(value) ? value : "";
}

/** Takes over what the daemon says in its status. */
export function sessionsOf(status, isPaused) {
  offer(status.listeners.map(({ name }) => name));
  mayWrite = status.http_write === true;
  paused = isPaused;
}

async function load() {
  clearTimeout(timer);
  const mine = ++asking;
  const began = Date.now();
  if (!document.hidden && !paused) {
    try {
      const answer = await ask(query("api/v1/sessions", { listener: listener.value, channel: channel.value.trim(), client: client.value.trim(), limit }));
      if (mine !== asking) {
        return;
      }
      sessions = answer.sessions;
      const part = answer.total > sessions.length ? `${count(sessions.length)} of ${count(answer.total)}; a filter narrows them` : count(answer.total);
      write(root.querySelector(".shown"), part);
      write(problem, "");
      draw();
    } catch (error) {
      write(problem, error.message);
    }
  }
  if (visible && mine === asking) {
    timer = setTimeout(load, Math.max(every, 5 * (Date.now() - began)));
  }
}

function draw() {
  columns.forEach(({ key }, i) => {
    const head = root.querySelector("thead tr").children[i];
    mark(head, "aria-sort", sorted.key === key ? (sorted.down ? "descending" : "ascending") : "none");
  });
  const sign = sorted.down ? -1 : 1;
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  const list = sessions.toSorted((a, b) => sign * compare(a[sorted.key], b[sorted.key]) || a.id - b.id);
  set(actions, "hidden", !mayWrite);
  fill(root.querySelector("tbody"), list, "tr", (row, session) => {
    fill(row, mayWrite ? [...columns, end] : columns, "td", (cell, column) => {
      if (column === end) {
        offerEnd(cell, session);
        return;
      }
      set(cell, "className", column.number ? "num" : "");
      write(cell, column.format ? column.format(session[column.key]) : session[column.key]);
    });
  });
}

function offerEnd(cell, session) {
  if (cell.dataset.id !== String(session.id)) {
    cell.dataset.id = session.id;
    cell.replaceChildren(button("End…", "small", () => askClose(session, load)));
    cell.firstChild.setAttribute("aria-label", `End session ${session.id}`);
  }
}
