// One meeting, live: what has happened, then what happens, each version once; at the reveal on to the result.

import { api, ask, attempt, element, find, pageOf, sessionId } from "/pages/common.js";
import { Socket } from "/pages/socket.js";
import { transports } from "/pages/watching.js";

let seen = 0; // the version of the last event that is shown
let stop = () => {};
let caughtUp = false;

function show(name, payload) {
  if (name === "reset") return void (seen = payload.version);
  if (!(payload?.version > seen)) return; // a double, or a hint without a version
  if (payload.version > seen + 1) find("problem").textContent = `versions ${seen + 1} to ${payload.version - 1} are missing`;
  seen = payload.version;
  const more = payload.error ?? payload.reason ?? payload.message ?? payload.outcome ?? payload.status ?? "";
  const item = element("li", null, element("code", name), " ", element("span", more), " ", element("small", payload.timestamp));
  item.value = payload.version;
  item.dataset.event = name;
  find("events").append(item);
  find("version").textContent = seen;
  if (!caughtUp) return;
  if (name === "post_transcription_reveal") location.assign(payload.redirect_url);
  else refresh();
}

let asked = null; // one look at a time, however many events come
function refresh() {
  asked ??= attempt(async () => {
    await new Promise((done) => setTimeout(done, 100));
    asked = null;
    head(await ask(api()));
  });
}

function head(session) {
  document.title = session.title || "Meeting";
  find("title").textContent = session.title || "Untitled";
  find("state").textContent = session.state;
  find("recording").hidden = session.state !== "recording";
  find("result").hidden = session.state !== "revealed";
  find("result").href = pageOf(session.session_id, "/result");
  find("finalize").dataset.id = session.id;
}

function watch() {
  stop();
  stop = transports[find("transport").value](show, (words) => { find("line").textContent = words; }, () => seen);
}

async function record() {
  await ask(api("/transcript"), { method: "POST", text: find("transcript").value });
  find("transcript").value = "";
}

const refused = (name, payload) => {
  if (name === "error") find("problem").textContent = payload?.message ?? "refused";
};

function finalizeBySocket() {
  const page = new Socket("/", {
    onEvent: refused,
    onConnect: () => page.emit("finalize_session", { session_id: sessionId(), settings: {} }),
    onRefused: (message) => refused("error", { message }),
  });
  setTimeout(() => page.close(), 5000);
}

// The socket that starts a session is the one whose end_session ends it, as long as it is connected.
function startBySocket() {
  return new Promise((started, failed) => {
    const title = new URLSearchParams(location.search).get("title");
    let begun = false;
    const recorder = new Socket("/live-transcription", {
      onConnect() {
        if (!begun) recorder.emit("start_session", { title, locale: navigator.language, device_info: {} });
      },
      onEvent(name, payload) {
        refused(name, payload);
        if (name !== "session_started" || begun) return;
        begun = true;
        history.replaceState(null, "", pageOf(payload.session_id));
        started(recorder);
      },
      onLost: () => { find("end_session").disabled = true; },
      onRefused: (message) => failed(new Error(message)),
    });
  });
}

async function begin() {
  const recorder = sessionId() === "new" ? await startBySocket() : null;
  find("end_session").disabled = !recorder;
  find("end_session").onclick = () => recorder.emit("end_session");
  head(await ask(api()));
  for (let more = true; more;) {
    const page = await ask(`${api("/events")}?after=${seen}&limit=200`);
    for (const { event, data } of page.events) show(event, data);
    more = page.more;
  }
  caughtUp = true; // what was revealed before this page was opened sends nobody away
  watch();
}

find("record").onclick = () => attempt(record);
find("complete").onclick = () => attempt(() => ask(api("/complete"), { method: "POST" }));
find("finalize").onclick = () => attempt(() => ask(`/sessions/${find("finalize").dataset.id}/finalize`, { method: "POST" }));
find("finalize_session").onclick = finalizeBySocket;
find("transport").onchange = watch;
ask("/host.json").then(({ websocket }) => {
  const choice = find("transport").querySelector("[value=ws]");
  choice.hidden = choice.disabled = !websocket;
});
attempt(begin);
