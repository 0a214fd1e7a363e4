// The daemon, asked over HTTP, and the token that it may want.

const patience = 5000; // milliseconds, for one answer

let token = recall();

/** Storage can be forbidden to a page; the token is then kept in it alone. */
function recall() {
  try {
    return sessionStorage.getItem("token") ?? "";
  } catch {
    return "";
  }
}

export function remember() {
  try {
    sessionStorage.setItem("token", token);
  } catch {
    // as recall
  }
}

export const currentToken = () => token;

export function useToken(given) {
  token = given;
}

/** Locked says that the daemon did not take a token, or wants one. */
export class Locked extends Error {
  constructor(given) {
    super("a token is needed");
    this.given = given;
  }
}

/** Missing says that the daemon has no such thing to tell. */
export class Missing extends Error {}

async function send(path, options) {
  const given = token;
  const headers = { ...options.headers, ...(given ? { Authorization: `Bearer ${given}` } : {}) };
  const response = await fetch(path, { ...options, cache: "no-store", headers, signal: AbortSignal.timeout(patience) });
  if (response.status === 401) {
    throw new Locked(given);
  }
  if (!response.ok) {
    const text = (await response.text()).trim();
    throw response.status === 404 ? new Missing(text) : new Error(text || `${path}: ${response.status}`);
  }
  return response.json();
}

export const ask = (path) => send(path, {});

/** Asks for something to be done, with what it is about. */
export const order = (act, about) => send(`api/v1/${act}`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(about),
});

/** A path with those parameters that say something. */
export function query(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined);
  return given.length > 0 ? `${path}?${new URLSearchParams(given)}` : path;
}
