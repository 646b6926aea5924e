// The list of meetings. A hint on the dashboard's stream says only that it has changed: the list is fetched anew.

import { ask, attempt, element, find, link, moment, pageOf } from "/pages/common.js";

const PAGE = 50;
let oldest = null;

function row(session) {
  const part = session.state === "revealed" ? "/result" : "";
  const made = element("tr", null,
    element("td", null, link(pageOf(session.session_id, part), session.title || "Untitled")),
    element("td", session.state),
    element("td", session.total_segments),
    element("td", moment(session.started_at)));
  made.dataset.session = session.session_id;
  return made;
}

async function fetchList(before) {
  const { sessions } = await ask(`/api/sessions?limit=${PAGE}` + (before ? `&before=${before}` : ""));
  const rows = sessions.map(row);
  if (before) find("sessions").append(...rows);
  else find("sessions").replaceChildren(...rows);
  oldest = sessions.at(-1)?.id ?? oldest;
  find("more").hidden = sessions.length < PAGE;
  find("none").hidden = find("sessions").children.length > 0;
}

const refresh = () => attempt(() => fetchList());

function listen() {
  const stream = new EventSource("/api/dashboard/stream");
  stream.onopen = () => {
    find("line").textContent = "live";
    refresh(); // what was hinted at while the line was down is in the list
  };
  stream.onerror = () => {
    find("line").textContent = "reconnecting…";
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
  stream.addEventListener("dashboard_refresh", refresh);
  stream.addEventListener("reset", refresh);
}

listen();

find("more").onclick = () => attempt(() => fetchList(oldest));
find("start").onsubmit = (submitted) => {
  submitted.preventDefault();
  const title = find("title").value.trim() || null;
  if (submitted.submitter?.value === "socket") {
    // The socket that starts a session is the one that ends it, so the meeting's page opens it.
    location.assign(`/meetings/new?${new URLSearchParams({ title: title ?? "" })}`);
    return;
  }
  attempt(async () => {
    const session = await ask("/api/sessions", { method: "POST", json: { title } });
    location.assign(pageOf(session.session_id));
  });
};
