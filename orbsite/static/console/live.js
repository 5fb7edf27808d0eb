// Polls the state of a job every second, less often after errors, and reloads the page when the job has ended.
"use strict";

(() => {
  const SECOND = 1000;
  const LONGEST = 30 * SECOND;
  const job = document.getElementById("job");
  const part = (name) => document.getElementById(`job-${name}`);
  let pause = SECOND;
  let lastMessage = part("message").textContent;
  let lastTenth = null;

  const element = (name, text, scope) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (scope) {
      made.scope = scope;
    }
    return made;
  };

  // Updates the text only for a new sentence or another tenth, because a screen reader reads each update aloud.
  const say = (sentence, percent) => {
    const tenth = percent === null ? null : Math.floor(percent / 10);
    if (sentence === lastMessage && tenth === lastTenth) {
      return;
    }
    const withPercent = tenth === null ? sentence : `${sentence} At least ${tenth * 10} % is done.`;
    part("message").textContent = withPercent;
    [lastMessage, lastTenth] = [sentence, tenth];
  };

  const showBar = (state) => {
    const bar = part("progress");
    if (state.expected) {
      bar.max = state.expected;
      bar.value = Math.min(state.progress, state.expected);
    } else {
      bar.removeAttribute("value");
    }
  };

  const showCounts = (columns, rows) => {
    part("columns").replaceChildren(...[part("columns").dataset.first || "Domain", ...columns].map((name) => element("th", name, "col")));
    const made = rows.map(([domain, ...numbers]) => {
      const row = document.createElement("tr");
      row.append(element("th", domain, "row"), ...numbers.map((number) => element("td", String(number))));
      return row;
    });
    part("rows").replaceChildren(...made);
  };

  const show = (state) => {
    part("state").textContent = state.state.charAt(0).toUpperCase() + state.state.slice(1);
    part("numbers").textContent = state.numbers;
    say(state.said, state.percent);
    showBar(state);
    if (part("rows")) {
      showCounts(state.columns, state.rows);
      part("found").textContent = String(state.found);
      const item = (finding) => element("li", `${finding.severity}: ${finding.domain} ${finding.path}: ${finding.message}`);
      part("findings").replaceChildren(...state.findings.map(item));
    }
  };

  const poll = async () => {
    try {
      const answer = await fetch(job.dataset.state, { headers: { Accept: "application/json" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 404) {
        window.location.reload(); // signed out or no longer permitted: the reloaded page shows the reason
        return;
      }
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      const state = await answer.json();
      if (state.has_ended) {
        window.location.reload();
        return;
      }
      show(state);
      pause = SECOND;
    } catch {
      pause = Math.min(pause * 2, LONGEST);
      say(`The server does not respond. Trying again in ${pause / SECOND} seconds. The job continues.`, null);
    }
    window.setTimeout(poll, pause);
  };

  window.setTimeout(poll, pause);
})();
