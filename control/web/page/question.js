// What an operator may do here: each is asked about once, and says what it
// will do.

import { order } from "./api.js";
import { byId, write } from "./dom.js";
import { count } from "./format.js";

const dialog = byId("question");
const yes = dialog.querySelector(".yes");
const problem = dialog.querySelector(".problem");
let pending = null;

/** Asks, and does it if that is what somebody wants; then calls done. */
function question({ title, text, verb, danger, act, about }, done) {
  pending = async () => {
    yes.disabled = true;
    try {
      await order(act, about);
      dialog.close();
      done();
    } catch (error) {
      write(problem, `It was not done: ${error.message}`);
    }
    yes.disabled = false;
  };
  write(byId("question-title"), title);
  write(byId("question-text"), text);
  write(problem, "");
  write(yes, verb);
  yes.classList.toggle("danger", danger);
  dialog.showModal();
}

yes.addEventListener("click", () => pending?.());
dialog.addEventListener("close", () => { // which comes late: the next question may have been put
  if (!dialog.open) {
    pending = null;
  }
});

/** What can be done with a channel in its state. */
export const channelActs = (channel) =>
  (["disabled", "autodisabled", "draining"].includes(channel.state) ? ["enable"] : ["drain", "disable"]);

export const actNames = { drain: "Drain…", enable: "Enable…", disable: "Disable…" };

export function askChannel(act, listener, channel, done) {
  const name = `${listener}/${channel.name || channel.channel}`;
  const words = {
    drain: {
      title: `Drain ${name}?`, verb: "Drain", danger: true,
      text: `It gets no new sessions. Those it has (${count(channel.active)}) may come to their end; then it is disabled, until somebody enables it.`,
    },
    disable: {
      title: `Disable ${name}?`, verb: "Disable", danger: true,
      text: `It gets no new sessions, until somebody enables it. Those it has (${count(channel.active)}) go on.`,
    },
    enable: {
      title: `Enable ${name}?`, verb: "Enable", danger: false,
      text: "It gets new sessions again, as its group has it.",
    },
  }[act];
  question({ ...words, act, about: { listener, channel: channel.channel } }, done);
}

export function askClose(session, done) {
  question({
    title: `End session ${session.id}?`, verb: "End it", danger: true, act: "close", about: { id: session.id },
    text: `The client ${session.client} and ${session.channel || "its channel"} are cut off at once, by a reset.`,
  }, done);
}

export function askConfirm(done) {
  question({
    title: "Keep this configuration?", verb: "Confirm", danger: false, act: "confirm", about: {},
    text: "It stays in force, and does not go back by itself any more.",
  }, done);
}

export function askRollback(id, done) {
  question({
    title: id ? `Go back to configuration ${id}?` : "Go back to the configuration before?", verb: "Go back", danger: true, act: "rollback", about: { number: id },
    text: "It is put in force as one more change; the file on disk stays as it is, and differs from then on.",
  }, done);
}
