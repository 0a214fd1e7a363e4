// What happened, the latest first, and its marks in the charts.

import { byId, fill, make, set, write } from "./dom.js";
import { clock, count } from "./format.js";
import { pathOf } from "./listeners.js";
import { eventOf } from "./words.js";

const few = 12;
const list = byId("events").querySelector("ol");
const none = byId("events").querySelector(".none");
const more = byId("events").querySelector(".more");
let all = false;
let known = [];

more.addEventListener("click", () => {
  all = !all;
  draw();
});

/** Shows events, the latest at the end, and returns them with what a chart needs. */
export function showEvents(events) {
  known = events.map((event) => {
    const look = eventOf(event);
    const subject = subjectOf(event);
    return { ...event, time: Date.parse(event.time), look: look.look, mark: look.mark, word: look.text, text: [subject, look.text].filter(Boolean).join(" ") };
  });
  draw();
  return known;
}

/** What an event is about, as the headline calls it. */
function subjectOf(event) {
  return [event.listener, event.name || event.channel].filter(Boolean).join(" ");
}

function draw() {
  const shown = known.toReversed().slice(0, all ? known.length : few);
  set(none, "hidden", known.length > 0);
  set(more, "hidden", known.length <= few);
  write(more, all ? "Show fewer" : `Show all ${count(known.length)}`);
  fill(list, shown, "li", (node, event) => {
    if (node.dataset.id === String(event.id)) {
      return;
    }
    node.dataset.id = event.id;
    node.className = event.look;
    const time = make("time", "num muted", clock(new Date(event.time)));
    time.dateTime = new Date(event.time).toISOString();
    time.title = new Date(event.time).toLocaleString();
    const sign = make("i", "", event.mark);
    sign.setAttribute("aria-hidden", "true");
    const parts = [make("b", "", event.word)];
    if (event.listener) {
      const subject = make("a", "", subjectOf(event));
      subject.href = pathOf(event.listener, event.channel || undefined);
      parts.unshift(subject, " ");
    }
    if (event.reason) {
      parts.push(`: ${event.reason}`);
    }
    if (event.by) {
      parts.push(" ", make("span", "muted", `by ${event.by}`));
    }
    node.replaceChildren(time, sign, make("span", "", ...parts));
  });
}
