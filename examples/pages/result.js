// What a meeting has come to. Its tasks can be ticked off, here and in every other browser that shows them.

import { api, ask, attempt, clock, element, find, oneByOne, PAUSE, pageOf, sessionId } from "/pages/common.js";

const list = (items) => element("ul", null, ...items.map((item) => element("li", item)));
const texts = (cited) => (cited ?? []).map(({ text }) => text);

function part(name, value) {
  if (value.length) find("summary").append(element("h3", name), list(value));
}

// Says how a result came about, where that is not as it should be; null where there is nothing to show.
function made(home, result) {
  home.replaceChildren();
  if (!result) home.append(element("p", "Not there yet."));
  else if (result.outcome !== "ok") {
    const why = result.reason ? `${result.outcome}: ${result.reason}` : result.outcome;
    home.append(Object.assign(element("p", why), { className: "aside" }));
  }
  return result?.outcome === "ok" || result?.outcome === "degraded" ? result : null;
}

function showSummary(result) {
  const summary = made(find("summary"), result);
  if (!summary) return;
  find("summary").append(element("p", summary.brief), element("p", summary.detailed));
  part("Key points", texts(summary.key_points));
  part("Decisions", texts(summary.decisions));
  part("Risks", texts(summary.risks));
  part("Questions", (summary.questions ?? []).map(({ question, answer }) => (answer ? `${question} — ${answer}` : question)));
  part("Next steps", texts(summary.next_steps));
}

function showTasks(result) {
  const tasks = made(find("tasks"), result);
  for (const task of tasks?.tasks ?? []) {
    const tick = element("input");
    Object.assign(tick, { type: "checkbox", checked: task.completed });
    tick.dataset.task = task.task_id;
    tick.onchange = () => attempt(async () => {
      try {
        await ask(api(`/tasks/${encodeURIComponent(task.task_id)}`), { method: "PATCH", json: { completed: tick.checked } });
      } catch (error) {
        tick.checked = !tick.checked;
        throw error;
      }
    });
    const about = [task.assigned_to, task.due_date, task.priority].filter(Boolean).join(" · ");
    find("tasks").append(element("p", null, element("label", null, tick, " ", task.title), " ", element("small", about)));
  }
  if (tasks && !tasks.tasks.length) find("tasks").append(element("p", "Nobody was asked to do anything."));
}

function showAnalytics(result) {
  const analytics = made(find("analytics"), result);
  if (!analytics) return;
  const facts = element("dl");
  const fact = (name, value) => value !== null && value !== undefined && facts.append(element("dt", name), element("dd", value));
  fact("Minutes", analytics.total_duration_minutes?.toFixed(1));
  fact("Words", analytics.word_count);
  fact("Words a minute", analytics.words_per_minute?.toFixed(0));
  fact("Participants", analytics.participant_count);
  fact("Questions", analytics.question_count);
  for (const one of analytics.speaking_time ?? []) fact(one.speaker, `${(one.share * 100).toFixed(0)} % of the talk`);
  fact("Keywords", (analytics.keywords ?? []).map(({ phrase }) => phrase).join(", "));
  find("analytics").append(facts);
}

function showTranscript(result) {
  made(find("transcript"), result);
  for (const line of result?.lines ?? []) {
    if (!line.refined_text) continue;
    find("transcript").append(element("p", null,
      element("small", clock(line.start_ms)), " ", element("strong", line.speaker ?? ""), " ", line.refined_text));
  }
}

async function show() {
  const session = await ask(api());
  const result = await ask(api("/result"));
  document.title = session.title || "Meeting";
  find("title").textContent = session.title || "Untitled";
  find("state").textContent = session.state === "revealed" ? "" : `This meeting is ${session.state}.`;
  showSummary(result.summary);
  showTasks(result.tasks);
  showAnalytics(result.analytics);
  showTranscript(result.transcript);
}

const refresh = oneByOne(show);

function listen() {
  const stream = new EventSource(api("/stream"));
  stream.onopen = refresh; // what happened while nobody listened is in what is fetched now
  stream.onerror = () => {
    // After a lost connection it comes back by itself; after a refusal (429 or 503, say) it does not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, PAUSE);
  };
  for (const name of ["task_changed", "artefact_updated", "post_transcription_reveal", "session_event", "session_erased"]) {
    stream.addEventListener(name, refresh);
  }
}

find("log").href = pageOf(sessionId());
refresh();
listen();
