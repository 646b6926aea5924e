// One way or another to hear a session's events, each with its version, after the last that was seen.

import { api, sessionId } from "/pages/common.js";
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
        // After a lost connection it comes back by itself, with Last-Event-ID; after a refusal (503, say) it does not.
        if (stream.readyState === EventSource.CLOSED) setTimeout(() => over || open(), 2000);
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
        setTimeout(() => over || open(), 1000);
      };
    };
    open();
    return () => { over = true; line.close(); };
  },

  socketio(heard, said, last) {
    const socket = new Socket("/live", {
      onEvent: heard,
      onConnect() {
        said("live");
        socket.emit("join_session", { session_id: sessionId(), after: last() });
      },
      onLost: () => said("reconnecting…"),
      onRefused: said,
    });
    return () => socket.close();
  },
};
