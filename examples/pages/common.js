// What the pages share. Whatever comes from a meeting or a model is put in as text, never as HTML.

export const sessionId = () => decodeURIComponent(location.pathname.split("/")[2] ?? "");
export const find = (id) => document.getElementById(id);

export function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = String(text);
  made.append(...children);
  return made;
}

export function link(href, text) {
  const made = element("a", text);
  made.href = href;
  return made;
}

export const pageOf = (id, part = "") => `/meetings/${encodeURIComponent(id)}${part}`;
export const api = (part = "") => `/api/sessions/${encodeURIComponent(sessionId())}${part}`;

// The answer as JSON; an Error with the door's own words where it refuses.
export async function ask(path, { method = "GET", json, text } = {}) {
  const asked = { method };
  if (json !== undefined) Object.assign(asked, { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } });
  if (text !== undefined) Object.assign(asked, { body: text, headers: { "Content-Type": "text/plain" } });
  const answer = await fetch(path, asked);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.error ?? `${answer.status} ${answer.statusText}`), { status: answer.status });
  return body;
}

// Run what a person asked for, and say in words what went wrong.
export async function attempt(action) {
  find("problem").textContent = "";
  try {
    await action();
  } catch (error) {
    find("problem").textContent = error.message;
  }
}

// Runs an action, one run at a time: what is asked for meanwhile is one more run after it, so that the last to be shown
// is the newest.
export function oneByOne(action) {
  let running = false, wanted = false;
  return async () => {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      await attempt(action);
    }
    running = false;
  };
}

export const PAUSE = 1000; // ms until what was refused is tried again
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export const clock = (ms) => new Date(ms).toISOString().slice(11, 19);
export const moment = (micros) => new Date(micros / 1000).toLocaleString();
