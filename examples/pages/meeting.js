// One meeting, live: what has happened, then what happens, each version once; at the reveal on to the result.

import { api, ask, attempt, element, find, oneByOne, PAUSE, pageOf, pause, sessionId } from "/pages/common.js";
import { Socket } from "/pages/socket.js";
import { transports } from "/pages/watching.js";

let seen = 0; // the version of the last event that is shown
let stop = () => {};
let caughtUp = false;

function show(name, payload) {
  if (name === "reset") return void attempt(catchUp); // the log is not the one that was shown: a restored database
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

const refresh = oneByOne(async () => {
  await pause(100); // however many events come
  head(await ask(api()));
});

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

// The socket that starts a session is the one whose end_session ends it. One that was lost starts it again when it is
// back: by the same id, so that it is the same session.
function startBySocket() {
  return new Promise((started, failed) => {
    const title = new URLSearchParams(location.search).get("title");
    const asked = { session_id: crypto.randomUUID(), title, locale: navigator.language, device_info: {} };
    const recorder = new Socket("/live-transcription", {
      onEvent: refused,
      onConnect: () => recorder.emit("start_session", asked, (answer) => {
        if (answer.error) {
          if (sessionId() === "") recorder.close();
          return void failed(new Error(answer.error));
        }
        if (sessionId() === "") history.replaceState(null, "", pageOf(answer.session_id));
        find("end_session").disabled = false;
        started(recorder);
      }),
      onLost: () => { find("end_session").disabled = true; },
      onRefused: (message) => failed(new Error(message)),
    });
  });
}

async function catchUp() {
  stop();
  find("events").replaceChildren();
  [seen, caughtUp] = [0, false];
  try {
    head(await ask(api()));
    for (let more = true; more;) {
      const page = await ask(`${api("/events")}?after=${seen}&limit=200`);
      for (const { event, data } of page.events) show(event, data);
      more = page.more;
    }
  } catch (error) {
    if (error.status < 500 && error.status !== 429) throw error;
    find("line").textContent = error.message; // too many requests, a database that is away, a lost connection
    await pause(PAUSE);
    return catchUp();
  }
  caughtUp = true; // what was revealed before this page was opened sends nobody away
  watch();
}

async function begin() {
  if (sessionId() === "") {
    const recorder = await startBySocket();
    find("end_session").onclick = () => recorder.emit("end_session", {});
  }
  await catchUp();
}

find("record").onclick = () => attempt(record);
find("complete").onclick = () => attempt(() => ask(api("/complete"), { method: "POST" }));
find("finalize").onclick = () => attempt(() => ask(`/sessions/${find("finalize").dataset.id}/finalize`, { method: "POST" }));
find("finalize_session").onclick = finalizeBySocket;
find("transport").onchange = () => caughtUp && watch();
ask("/host.json").then(({ websocket }) => {
  const choice = find("transport").querySelector("[value=ws]");
  choice.hidden = choice.disabled = !websocket;
});
attempt(begin);
