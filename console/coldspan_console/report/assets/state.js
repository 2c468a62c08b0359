"use strict";
/* What is shown, and of what: the data, the filters, the address. Nothing here draws. */

const MARKS = {
  ok: "✓", partial: "◐", throttled: "‖", timeout: "◷", rejected: "⊘", error: "✗", cancelled: "–", in_flight: "…", untold: "?",
};
const KILLED = new Set(["timeout", "crash", "out_of_memory"]);
const GOOD = new Set(["ok", "pending"]);
const BAD_CALL = new Set(["partial", "throttled", "timeout", "error"]);
const FILTERS = ["function", "kind", "tool", "q", "from", "to"];
const KINDS = {
  "": "every outcome", failed: "failed", killed: "killed", cold: "cold starts", calls: "with failed calls", slow: "slowest 5 %",
};

const state = { all: [], shown: [], filter: {}, view: "overview", argument: "", data: null };

/* One element; texts are texts, whatever is in them. */
function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, each] of Object.entries(value)) element.style.setProperty(property, each);
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/* Times */
function ms(value) {
  if (value === undefined || value === null) return "–";
  if (value >= 60000) return long(value);
  if (value >= 1000) return (value / 1000).toFixed(2) + " s";
  if (value >= 10) return value.toFixed(0) + " ms";
  return value >= 0.1 || value === 0 ? value.toFixed(1) + " ms" : (value * 1000).toFixed(0) + " µs";
}
/* A time at an axis, with no zeros that say nothing: 1 s and 2.5 s, not 1.00 s. */
function tick(value) {
  return ms(value).replace(/\.(\d*?)0+(?= )/, (_, digits) => (digits ? "." + digits : ""));
}
function long(value) {
  for (const [limit, unit, divisor] of [[3.6e6, "min", 6e4], [8.64e7, "h", 3.6e6], [Infinity, "d", 8.64e7]])
    if (value < limit) return (value / divisor).toFixed(value / divisor < 10 ? 1 : 0) + " " + unit;
}
function clock(epoch, withDay = true) {
  const date = new Date(epoch);
  const pad = (number, width = 2) => String(number).padStart(width, "0");
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  return withDay ? `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}` : time;
}
function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/* Figures */
function percentile(ordered, share) {
  if (!ordered.length) return undefined;
  return ordered[Math.min(ordered.length - 1, Math.max(0, Math.ceil((ordered.length * share) / 100) - 1))];
}
function sorted(values) {
  return values.slice().sort((a, b) => a - b);
}
function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}
/* Ids and numbers of a message are folded: what failed in the same way is one thing. */
function folded(message) {
  return (message || "")
    .replace(/[0-9a-f]{8}-[0-9a-f-]{20,}/gi, "…").replace(/\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b/gi, "…").replace(/\d+/g, "#");
}

function kindOf(one) {
  if (KILLED.has(one.outcome)) return "killed";
  if (!GOOD.has(one.outcome)) return "error";
  return one.start === "warm" ? "warm" : "cold";
}

/* Invocations: prepared once */
function take(invocations) {
  for (const one of invocations) {
    one.kind = kindOf(one);
    one.key = `${one.rid || "?"}${one.sid ? "." + one.sid : ""}`;
    one.nbad = one.calls.filter((call) => BAD_CALL.has(call.status)).length || one.nfail || 0;
    one.text = [one.fn, one.rid, one.etype, one.emsg, one.tenant, ...one.calls.map((call) => `${call.tool} ${call.op} ${call.status} ${call.msg || ""}`)]
      .join(" ").toLowerCase();
  }
  return invocations;
}
function load(data) {
  state.data = data;
  state.all = take(data.invocations);
  state.all.sort((a, b) => b.t - a.t);
}
function add(invocations) {
  const known = new Map(state.all.map((one, index) => [one.key, index]));
  for (const one of take(invocations)) {
    if (known.has(one.key)) state.all[known.get(one.key)] = one;
    else state.all.push(one);
  }
  state.all.sort((a, b) => b.t - a.t);
}

function filtered() {
  const { function: fn, kind, tool, q, from, to } = state.filter;
  const words = (q || "").toLowerCase().split(/\s+/).filter(Boolean);
  let found = state.all.filter((one) => {
    if (fn && one.fn !== fn) return false;
    if (from && one.t < +from) return false;
    if (to && one.t > +to) return false;
    if (kind === "failed" && GOOD.has(one.outcome)) return false;
    if (kind === "killed" && one.kind !== "killed") return false;
    if (kind === "cold" && one.start === "warm") return false;
    if (kind === "calls" && !one.nbad) return false;
    if (tool && !one.calls.some((call) => call.tool === tool)) return false;
    return words.every((word) => one.text.includes(word));
  });
  if (kind === "slow") {
    const least = percentile(sorted(found.map((one) => one.ms)), 95);
    found = found.filter((one) => one.ms >= least);
  }
  return found;
}

/* The address: #/view/argument?filters */
function readAddress() {
  const hash = location.hash.replace(/^#\/?/, "");
  const [path] = hash.split("?", 1);
  const [view, ...rest] = path.split("/");
  state.view = view || "overview";
  state.argument = decoded(rest.join("/"));
  const given = new URLSearchParams(hash.slice(path.length + 1));
  state.filter = {};
  for (const name of FILTERS) if (given.get(name)) state.filter[name] = given.get(name);
}
/* What somebody typed may be no address: it is taken as it is. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
function address(view, argument = "", filter = state.filter) {
  const query = new URLSearchParams();
  for (const name of FILTERS) if (filter[name]) query.set(name, filter[name]);
  const text = query.toString();
  return `#/${view}${argument ? "/" + encodeURIComponent(argument) : ""}${text ? "?" + text : ""}`;
}
function go(view, argument = "", filter = state.filter) {
  location.hash = address(view, argument, filter);
}
function narrow(changes) {
  go(state.view === "invocation" ? "list" : state.view, "", { ...state.filter, ...changes });
}
