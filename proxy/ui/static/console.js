// Keeps the page as new as the server. Without it everything still works, by loading the page again.

const live = document.getElementById("live");
const said = document.getElementById("said");
const alarm = document.getElementById("alarm");
const rows = document.getElementById("rows");
const pause = document.getElementById("pause");
const onPage = document.body.dataset.page;
const livePath = { overview: "/ui/live", actions: "/ui/live", action: `${location.pathname}/live` }[onPage] ?? "/ui/state";
const ROWS_MAX = 40;
const LOST_AFTER_MS = 6000; // a status comes every two seconds

let heardAt = 0;
let isPaused = false;
let waiting = 0;
let fetching = false;
let again = false;
let isEnding = false;

function show(state, text) {
  if (live.dataset.state !== state) {
    live.dataset.state = state;
    if (state === "lost") said.textContent = "Live updates are lost. What is shown is old.";
    else if (state === "on") said.textContent = "Live updates.";
  }
  live.textContent = text;
}

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "text/html" }, redirect: "error" });
  if (response.status === 401) {
    isEnding = true;
    location.assign("/ui/login");
  }
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

function parsed(text) {
  return new DOMParser().parseFromString(text, "text/html");
}

// What somebody is typing into, or has opened, is left alone.
function isBusy(element) {
  if (element.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return true;
  return [...element.querySelectorAll("input:not([type=hidden])")].some((one) => one.value !== one.defaultValue);
}

function put(next) {
  const old = document.getElementById(next.id);
  if (!old || old.outerHTML === next.outerHTML || isBusy(old)) return;
  for (const details of old.querySelectorAll("details[open][id]")) {
    const same = next.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = true;
  }
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const place = focused ? [...old.querySelectorAll("a, summary, button")].indexOf(focused) : -1;
  if (next.id === "state" && next.dataset.state !== old.dataset.state) {
    alarm.textContent = next.innerText || next.textContent.replace(/\s+/g, " ");
    document.title = `${next.querySelector(".word").textContent.trim()} · riskgate`;
  }
  old.replaceWith(document.adoptNode(next));
  if (place >= 0) [...next.querySelectorAll("a, summary, button")][place]?.focus();
}

// One fetch at a time; what happens meanwhile is fetched once more afterwards.
async function refresh() {
  if (isEnding) return;
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const page = parsed(await (await ask(livePath)).text());
    for (const one of [...page.querySelectorAll("[data-live]")]) put(one);
  } catch (error) {
    console.warn(String(error));
  }
  fetching = false;
  if (again) {
    again = false;
    setTimeout(refresh, 250);
  }
}

let asking = false;
async function addRows() {
  if (!rows || asking || isEnding) return;
  if (isPaused) {
    pause.textContent = `Resume (${waiting} new)`;
    return;
  }
  asking = true;
  waiting = 0;
  try {
    const query = new URLSearchParams(rows.dataset.query);
    query.set("after", rows.dataset.newest);
    const response = await ask(`/ui/rows?${query}`);
    const found = [...parsed(`<ol>${await response.text()}</ol>`).querySelectorAll("li[data-seq]")];
    rows.dataset.newest = response.headers.get("X-Newest");
    for (const row of found.reverse()) {
      row.classList.add("new");
      rows.prepend(document.adoptNode(row));
    }
    if (found.length) document.getElementById("empty").hidden = true;
    while (rows.children.length > ROWS_MAX) {
      const last = rows.lastElementChild;
      if (last.contains(document.activeElement)) break;
      last.remove();
    }
  } catch (error) {
    console.warn(String(error));
  }
  asking = false;
  if (waiting) setTimeout(addRows, 250);
}

function heard() {
  heardAt = performance.now();
}

const source = new EventSource("/admin/v1/events");
source.addEventListener("open", () => {
  heard();
  refresh();
  addRows();
});
source.addEventListener("status", (event) => {
  heard();
  show("on", `live, ${JSON.parse(event.data).at.slice(11, 19)} UTC`);
  refresh();
});
source.addEventListener("ess", () => {
  heard();
  refresh();
});
source.addEventListener("admin", refresh);
source.addEventListener("decision", () => {
  heard();
  waiting += 1;
  addRows();
});
source.addEventListener("skipped", addRows);
source.addEventListener("flow", (event) => {
  document.dispatchEvent(new CustomEvent("flow", { detail: JSON.parse(event.data) }));
});
addEventListener("pagehide", () => source.close());

setInterval(() => {
  const silent = performance.now() - heardAt;
  if (heardAt && silent > LOST_AFTER_MS) show("lost", `not live: nothing heard for ${Math.round(silent / 1000)} s`);
}, 1000);

// What runs is followed more closely than what stands.
setInterval(() => {
  if (document.querySelector("main [data-running]")) refresh();
}, 1000);

if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Resume" : "Pause";
    if (!isPaused) addRows();
  });
}
