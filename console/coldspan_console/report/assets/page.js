"use strict";
/* The page: its frame, keys, and what comes while it is open. */

const VIEWS = { overview: ["Overview", overview, "1"], list: ["Invocations", listView, "2"], failures: ["What failed", failuresView, "3"], map: ["Service map", mapView, "4"], imports: ["Imports", importsView, "5"], invocation: ["", invocationView] };
const KEYS = [["1 … 5", "the views"], ["/", "search"], ["j  k", "down and up in the list; later and earlier invocation"], ["Enter", "open"], ["Esc", "back, or clear the filters"], ["t", "light or dark"], ["?", "these keys"]];

function show() {
  readAddress();
  state.shown = filtered();
  forget();
  const main = document.getElementById("view");
  const [, draw] = VIEWS[state.view] || VIEWS.overview;
  main.className = "v-" + (VIEWS[state.view] ? state.view : "overview");
  main.replaceChildren();
  frame();
  draw(main);
}
function frame() {
  document.getElementById("tabs").replaceChildren(...Object.entries(VIEWS).filter(([, [name]]) => name).map(([view, [name, , key]]) =>
    h("a", { href: address(view), "aria-current": view === state.view ? "page" : null, title: `${name} (${key})` }, name)));
  const filters = document.getElementById("filters");
  const choice = (name, label, options) => h("label", {}, h("span", {}, label), h("select", { onchange: (event) => narrow({ [name]: event.target.value }) }, options.map(([value, text]) => h("option", { value, selected: (state.filter[name] || "") === value }, text))));
  const functions = [...new Set(state.all.map((one) => one.fn || "?"))].sort();
  const tools = [...new Set(state.all.flatMap((one) => one.calls.map((call) => call.tool)))].sort();
  const search = h("input", { type: "search", id: "search", placeholder: "search ids, errors, tools …  /", "aria-label": "Search", value: state.filter.q || "", onchange: (event) => narrow({ q: event.target.value }), onkeydown: searched });
  const before = document.activeElement.id === "search" ? document.activeElement : null; // somebody is typing
  const range = state.filter.from ? h("button", { onclick: () => narrow({ from: "", to: "" }) }, `${clock(+state.filter.from)} – ${clock(+state.filter.to || Date.now(), false)}  ✕`) : null;
  const any = FILTERS.some((name) => state.filter[name]);
  filters.replaceChildren(choice("function", "function", [["", "all functions"], ...functions.map((name) => [name, name])]), choice("kind", "outcome", Object.entries(KINDS)), choice("tool", "calling", [["", "anything"], ...tools.map((name) => [name, name])]),
    search, ...[range, any ? h("button", { onclick: () => go(state.view === "invocation" ? "overview" : state.view, "", {}) }, "clear") : null].filter(Boolean), h("span.count", { "aria-live": "polite" }, `${state.shown.length.toLocaleString("en")} of ${count(state.all.length, "invocation")}`));
  if (before) {
    search.value = before.value;
    search.focus();
    search.setSelectionRange(before.selectionStart, before.selectionEnd);
  }
  document.getElementById("foot").textContent = `${state.data.title} · made ${clock(state.data.made_ms)} by coldspan ${state.data.version}` + (state.data.left_out ? ` · ${state.data.left_out.toLocaleString("en")} older invocations are left out (--limit)` : "");
}
function searched(event) {
  if (event.key !== "Enter") return;
  event.target.blur();
  narrow({ q: event.target.value });
}
function themed(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("coldspan-theme", name); } catch { /* a file without storage */ }
}
function otherTheme() {
  themed(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  show();
}
function firstTheme() {
  let kept = null;
  try { kept = localStorage.getItem("coldspan-theme"); } catch { /* see above */ }
  const system = matchMedia("(prefers-color-scheme: dark)");
  document.documentElement.dataset.theme = kept || (system.matches ? "dark" : "light");
  system.addEventListener("change", (event) => { if (!kept) { document.documentElement.dataset.theme = event.matches ? "dark" : "light"; show(); } });
  addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; show(); });
}
function keys() {
  const dialog = document.getElementById("keys");
  dialog.replaceChildren(h("h2", {}, "Keys"), h("dl", {}, KEYS.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])), h("form", { method: "dialog" }, h("button", {}, "close")));
  dialog.showModal();
}
function pressed(event) {
  const typing = /INPUT|SELECT|TEXTAREA/.test(event.target.tagName);
  if (event.key === "Escape" && typing) return event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const list = document.querySelector(".list");
  const view = Object.entries(VIEWS).find(([, [, , key]]) => key === event.key);
  if (view) return go(view[0]);
  if (event.key === "/") { event.preventDefault(); return document.getElementById("search").focus(); }
  if (event.key === "?") return keys();
  if (event.key === "t") return otherTheme();
  if (event.key === "Escape" && !document.getElementById("keys").open) return state.view === "invocation" ? history.back() : go(state.view, "", {});
  if (list && ["j", "ArrowDown"].includes(event.key)) { event.preventDefault(); return list.move(1); }
  if (list && ["k", "ArrowUp"].includes(event.key)) { event.preventDefault(); return list.move(-1); }
  if (list && event.key === "Enter" && document.activeElement === list) return list.open();
  if (list && event.key === "Enter" && document.activeElement === document.body) return list.open();
  const step = { j: "earlier", k: "later", ArrowLeft: "earlier", ArrowRight: "later" }[event.key];
  const next = step && document.querySelector(`[data-key=${step}]`);
  return next ? next.click() : undefined;
}
/* What comes while the page is open: the place of whoever reads it stays. */
function follow() {
  const sign = document.getElementById("live");
  sign.hidden = false;
  sign.textContent = "● live";
  const source = new EventSource("events");
  source.onmessage = (event) => {
    const places = [scrollY, document.querySelector(".list")?.scrollTop];
    const open = document.activeElement && document.activeElement.id;
    add(JSON.parse(event.data));
    if (open === "search") return;
    show();
    scrollTo(0, places[0]);
    const list = document.querySelector(".list");
    if (list && places[1]) list.scrollTop = places[1];
  };
  source.onopen = () => { sign.className = ""; sign.textContent = "● live"; };
  source.onerror = () => { sign.className = "off"; sign.textContent = "○ not connected"; };
}
async function begin() {
  firstTheme();
  const main = document.getElementById("view");
  if (typeof DecompressionStream === "undefined") return main.replaceChildren(empty("This browser is too old for the page: it needs DecompressionStream (2023 and later)."));
  load(await unpacked(document.getElementById("data").textContent.trim()));
  document.getElementById("data").remove();
  document.getElementById("theme").addEventListener("click", otherTheme);
  document.getElementById("help").addEventListener("click", keys);
  addEventListener("hashchange", () => { show(); if (state.view === "invocation") scrollTo(0, 0); });
  addEventListener("keydown", pressed);
  show();
  document.documentElement.dataset.ready = "yes";
  if (state.data.live) follow();
  return undefined;
}
begin();
