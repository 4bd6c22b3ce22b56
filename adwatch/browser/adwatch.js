// The live part of the status page. Without it everything works but by reloading.
"use strict";

const body = document.body;
const live = document.getElementById("live");
const announcer = document.getElementById("announcer");
const list = document.getElementById("changes-list");
const MOST = 50;
const REST = 3000; // between two looks at the whole page, unless the state is another
let mark = body.dataset.mark;
let ahead = 0; // of this clock before the server's, in seconds
let wanted = 0;
let looked = 0;
let events = null;

function show(state, words) {
  if (live.lastElementChild.textContent === words) return;
  live.classList.toggle("on", state === "on");
  live.lastElementChild.textContent = words;
}

function say(words) {
  if (announcer.textContent !== words) announcer.textContent = words;
}

function ago(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - ahead - seconds);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (passed >= size) return `${Math.round(passed / size)} ${unit} ago`;
  }
  return passed >= 1 ? `${Math.round(passed)} s ago` : "just now";
}

function tick() {
  for (const one of document.querySelectorAll("[data-ago]")) {
    const words = ago(Number(one.dataset.ago));
    if (one.textContent !== words) one.textContent = words;
  }
}

function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

// What the safety stop holds is never replaced under somebody who is about to decide.
function replaceHeld(before, after, asked) {
  const form = before.querySelector("form");
  if (form && !asked && after.dataset.held && after.dataset.held !== before.dataset.held) {
    before.querySelector(".stale").hidden = false;
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    before.querySelector("#show").onclick = () => refresh(true).catch(again);
    say("What is held, or who may decide, has changed; there is a button to show it.");
    return;
  }
  if (after.dataset.held !== before.dataset.held) replace(before, after);
}

function replace(before, after) {
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  const way = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href"));
  before.replaceWith(after);
  if (!focused) return;
  const again = way && (way[0] === "#" ? after.querySelector(way)
    : [...after.querySelectorAll("a")].find((link) => link.getAttribute("href") === way));
  const place = again || after.querySelector("section[tabindex], .wide") || after.closest("section") || document.getElementById("main");
  if (!again) place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

async function refresh(asked = false) {
  clearTimeout(wanted);
  wanted = 0;
  looked = Date.now();
  const words = new URLSearchParams(location.search).get("q");
  const answer = await fetch(words ? `./?q=${encodeURIComponent(words)}` : "./", { cache: "no-store" });
  if (answer.status >= 500) throw new Error(answer.statusText);
  if (!answer.ok) return;
  const page = parsed(await answer.text());
  const cause = document.querySelector(".cause").textContent;
  document.title = page.title;
  mark = page.body.dataset.mark;
  for (const after of page.querySelectorAll("[data-part]")) {
    const before = document.querySelector(`[data-part="${after.dataset.part}"]`);
    if (after.dataset.part === "held") replaceHeld(before, after, asked);
    else replace(before, after);
  }
  const now = document.querySelector(".cause").textContent;
  if (now !== cause) say(`${document.querySelector(".state h1").textContent}: ${now}`);
}

function soon(urgent) {
  if (wanted && !urgent) return;
  clearTimeout(wanted);
  const rest = urgent ? 0 : Math.max(0, looked + REST - Date.now());
  wanted = setTimeout(() => refresh().catch(again), rest + 100 + Math.random() * 200);
}

// Nobody else would: the server tells of a state once. A tab that is hidden asks when it is seen.
function again() {
  if (events) soon();
}

function heardOf(said) {
  ahead = Date.now() / 1000 - said.now;
  show("on", "Live");
  const lag = document.getElementById("lag");
  if (lag) lag.dataset.ago = said.read;
  tick();
}

let arrived = [];

function announce() {
  const words = arrived.slice(-3).map((one) => one.querySelector(".what").textContent + " "
    + one.querySelector(".whom").textContent.trim().replace(/\s+/g, " "));
  say(arrived.length > 3 ? `${arrived.length} changes, the latest: ${words.at(-1)}` : words.join("; "));
  arrived = [];
}

function changed(said) {
  const one = parsed(`<ol>${said.html}</ol>`).querySelector("li");
  one.classList.add("new");
  list.prepend(one);
  while (list.children.length > MOST) list.lastElementChild.remove();
  document.getElementById("no-changes").hidden = true;
  if (arrived.push(one) === 1) setTimeout(announce, 400);
}

function follow() {
  const source = events = new EventSource(`events?after=${body.dataset.last}`);
  const on = (name, does) => source.addEventListener(name, (event) => {
    if (event.lastEventId) body.dataset.last = event.lastEventId;
    does(JSON.parse(event.data));
  });
  on("status", (said) => {
    heardOf(said);
    const shown = document.querySelector(".state").dataset.state;
    if (said.mark !== mark) soon(said.state !== shown);
  });
  on("read", heardOf);
  on("change", changed);
  source.onerror = () => {
    show("off", "Connection lost; trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => source === events && follow(), 15000);
  };
}

// A browser has few connections for one server; tabs that nobody sees need none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    events?.close();
    events = null;
    show("off", "Paused while nobody looks");
  } else if (!events) follow();
});

follow();
setInterval(tick, 1000);
