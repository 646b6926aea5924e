// One way or another to hear a session's events, each with its version, after the last that was seen.

import { api, PAUSE, sessionId } from "/pages/common.js";
import { Socket } from "/pages/socket.js";

const STAGES = ["refinement", "analytics", "tasks", "summary"];
const NAMES = [
  "session_started", "segments_recorded", "session_finalized",
  ...STAGES.flatMap((stage) => ["started", "progress", "waiting", "ready", "failed"].map((end) => `${stage}_${end}`)),
  "post_transcription_reveal", "dashboard_refresh", "artefact_updated", "task_changed",
  "session_cancelled", "session_erased", "session_event",
];

// Each returns a function that ends it. heard(name, payload) · said(words for people) · last(): the version taken.
export const transports = {
  sse(heard, said, last) {
    let stream, over = false;
    const open = () => {
      stream = new EventSource(`${api("/stream")}?after=${last()}`);
      stream.onopen = () => said("live");
      stream.onerror = () => {
        said("reconnecting…");
        // After a lost connection it comes back by itself, with Last-Event-ID; after a refusal (429 or 503, say) not.
        if (stream.readyState === EventSource.CLOSED) setTimeout(() => over || open(), PAUSE);
      };
      for (const name of [...NAMES, "reset"]) stream.addEventListener(name, ({ data }) => heard(name, JSON.parse(data)));
    };
    open();
    return () => { over = true; stream.close(); };
  },

  ws(heard, said, last) {
    let line, over = false;
    const open = () => {
      const at = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${api("/ws")}?after=${last()}`;
      line = new WebSocket(at);
      line.onopen = () => said("live");
      line.onmessage = ({ data }) => {
        const { event, data: payload } = JSON.parse(data);
        heard(event, payload);
      };
      line.onclose = () => {
        if (over) return;
        said("reconnecting…");
        setTimeout(() => over || open(), PAUSE);
      };
    };
    open();
    return () => { over = true; line.close(); };
  },

  socketio(heard, said, last) {
    let socket, over = false;
    const join = (line) => line.emit("join_session", { session_id: sessionId(), after: last() }, (answer) => {
      if (answer.error) return void setTimeout(() => over || line !== socket || join(line), PAUSE);
      said("live");
      if (answer.reset) heard("reset", { version: answer.version });
    });
    const open = () => {
      socket = new Socket("/live", {
        onEvent: (name, payload) => (name === "error" ? said(payload.message) : heard(name, payload)),
        onConnect: () => join(socket),
        onLost: () => said("reconnecting…"),
        onRefused(words) {
          said(words);
          setTimeout(() => over || open(), PAUSE);
        },
      });
    };
    open();
    return () => { over = true; socket.close(); };
  },
};
