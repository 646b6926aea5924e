// The list of meetings. A hint on the dashboard's stream says only that it has changed: the list is fetched anew.

import { ask, attempt, element, find, link, moment, oneByOne, PAUSE, pageOf } from "/pages/common.js";

const PAGE = 50;
let wanted = PAGE; // how many are shown, where there are so many

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

const refresh = oneByOne(async () => {
  const rows = [];
  let before = null; // what the older ones are asked for with; a page may be short, and more come all the same
  do {
    const page = await ask(`/api/sessions?limit=${PAGE}` + (before === null ? "" : `&before=${before}`));
    rows.push(...page.sessions.map(row));
    before = page.before;
  } while (before !== null && rows.length < wanted);
  find("sessions").replaceChildren(...rows);
  find("more").hidden = before === null;
  find("none").hidden = rows.length > 0;
});

function listen() {
  const stream = new EventSource("/api/dashboard/stream");
  stream.onopen = () => {
    find("line").textContent = "live";
    refresh(); // what was hinted at while the line was down is in the list
  };
  stream.onerror = () => {
    find("line").textContent = "reconnecting…";
    // After a lost connection it comes back by itself; after a refusal (429 or 503, say) it does not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, PAUSE);
  };
  stream.addEventListener("dashboard_refresh", refresh);
}

refresh();
listen();

find("more").onclick = () => {
  wanted += PAGE;
  refresh();
};
find("start").onsubmit = (submitted) => {
  submitted.preventDefault();
  const title = find("title").value.trim() || null;
  if (submitted.submitter?.value === "socket") {
    // The socket that starts a session is the one that ends it, so the meeting's page opens it.
    location.assign(`/new?${new URLSearchParams({ title: title ?? "" })}`);
    return;
  }
  attempt(async () => {
    const session = await ask("/api/sessions", { method: "POST", json: { title } });
    location.assign(pageOf(session.session_id));
  });
};
