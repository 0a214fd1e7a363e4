// What the states of channels, modes and events are called, and mean.

import { clock, count, duration, latency } from "./format.js";

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
  disabled: { look: "off", mark: "○", text: "disabled", meaning: "gets no sessions until it is enabled" },
  autodisabled: { look: "bad", mark: "✕", text: "failed", meaning: "disabled because connecting to it failed, until it is enabled again" },
  removed: { look: "off", mark: "○", text: "removed", meaning: "in no configuration any more" },
};

const unknown = { look: "warn", mark: "?", text: "unknown", meaning: "" };

export const stateOf = (channel) => states[channel.state] ?? unknown;

export const isTroubled = (channel) => ["warn", "bad"].includes(stateOf(channel).look);

/** Which states want to be seen first. */
const ranks = { bad: 0, warn: 1, new: 2, off: 3, good: 4 };

export const rankOf = (look) => ranks[look];

export const modes = {
  rr: "in turn",
  hash: "by the client's address",
  leastconn: "the fewest sessions",
  random: "the better of two at random",
  first: "the first with room",
};

/** What a channel is called. */
export const nameOf = (channel) => channel.name || channel.channel;

/** How long ago a moment was, by the clock of the daemon. */
export const ago = (time, now) => duration(Math.max(0, (now - Date.parse(time)) / 1000));

/** The time of day of a moment, with the date if it is not of today. */
export function since(time, now) {
  const at = new Date(time);
  const day = { day: "numeric", month: "short" };
  const today = at.toDateString() === new Date(now).toDateString();
  return (today ? "" : `${at.toLocaleDateString("en-GB", day)}, `) + clock(at).slice(0, 5);
}

/** Why a channel is in its state, and since when, as far as there is something to say. */
export function whyOf(channel, now) {
  if (channel.state === "up" || channel.state === "untested") {
    return "";
  }
  const parts = [channel.reason || stateOf(channel).meaning];
  if (channel.since) {
    parts.push(`since ${since(channel.since, now)}`);
  }
  if (channel.until) {
    parts.push(`for another ${duration(Math.max(0, (Date.parse(channel.until) - now) / 1000))}`);
  }
  return parts.join(", ");
}

/** What the last check found. */
export function foundBy(check, now) {
  if (!check) {
    return "none";
  }
  if (!check.last) {
    return `${check.type} of ${check.target}, not checked yet`;
  }
  const { time, took_seconds: took, outcome, answer } = check.last;
  const row = check.in_a_row > 1 ? `, ${count(check.in_a_row)} times in a row` : "";
  return `${check.type} of ${check.target}, ${ago(time, now)} ago in ${latency(took)}: ${answer || outcome}${row}`;
}

export const total = (byReason) => Object.values(byReason ?? {}).reduce((sum, n) => sum + n, 0);

export const reasons = (byReason) =>
  Object.entries(byReason ?? {}).filter(([, n]) => n > 0).map(([reason, n]) => `${count(n)} ${reason}`).join(", ");

export const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

/** What an event looks like: its state's look, or that of somebody who acted. */
export function eventOf(event) {
  const state = states[event.what];
  if (state) {
    return state;
  }
  const look = event.what.includes("fail") ? "bad" : "act";
  return { look, mark: look === "bad" ? "▲" : "⚙", text: event.what };
}
