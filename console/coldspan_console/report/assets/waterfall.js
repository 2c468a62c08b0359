"use strict";
/* One invocation: what happened when, from the start of its environment to what the platform said of it. */

const PHASE_ORDER = ["serialize", "connect", "tls", "send", "wait", "receive", "parse"];

function invocationView(main) {
  const one = state.all.find((each) => each.key === state.argument) || state.all.find((each) => (each.rid || "").startsWith(state.argument));
  if (!one) return main.append(empty(`No invocation ${state.argument} in this report.`, h("a", { href: address("list") }, "All that there are")));
  const same = state.all.filter((each) => each.fn === one.fn);
  const index = same.indexOf(one);
  const link = (each, text, key) => each ? h("a.button", { href: address("invocation", each.key), "data-key": key }, text) : h("span.button.off", {}, text);
  main.append(h("div.headline", {},
    h("h1", {}, one.fn, " ", badge(one), " ", startOf(one)),
    h("div.row-of", {}, link(same[index + 1], "← earlier", "earlier"), link(same[index - 1], "later →", "later"), h("button", { onclick: (event) => copy(event.target, one.rid) }, "copy id"), h("button", { onclick: (event) => copy(event.target, JSON.stringify(one, (key, value) => (key === "text" ? undefined : value), 2)) }, "copy as JSON"))));
  if (one.etype) main.append(h("p.error-text", {}, h("b", {}, one.etype), one.emsg ? ": " + one.emsg : ""));
  main.append(panel("Where the time went", `${ms(one.ms)}, from ${clock(one.t - one.ms)}${one.init ? "; the init has a scale of its own" : ""}`, waterfall(one)));
  if (one.stacks) main.append(panel("Where it was when it was stopped", (one.evidence || []).join(", "), one.stacks.map((stack) => h("div.stack", {}, h("b", {}, stack.thread), h("pre", {}, stack.frames.map((frame) => h("div" + (frame.startsWith("/var/task/") ? ".own" : ""), { title: frame }, shortFrame(frame))))))));
  if (one.log) main.append(panel("Its log", "", h("pre.log", {}, one.log.map(([time, kind, text]) => h("div." + (kind === "extension" ? "soft" : "line"), {}, h("time", {}, time ? clock(time, false) : ""), " ", text)), one.log_left ? h("div.soft", {}, `… ${one.log_left} lines more: coldspan show ${(one.rid || "").slice(0, 8)}`) : null)));
  main.append(panel("Facts", "", factTable(one)));
}

function waterfall(one) {
  const begin = one.t - one.ms;
  const init = one.init || 0;
  const own = (one.own || 0) / 1000;
  const rows = [];
  const calls = one.calls.map((call) => ({ ...call, from: since(begin, call.t) }));
  const from = Math.min(-init, ...calls.map((call) => call.from));
  const end = Math.max(one.ms + own, ...calls.map((call) => call.from + call.ms));
  const place = placing(from, end);
  const left = (value) => `${100 * place(value)}%`;
  const bar = (name, start, length, ...inside) => h("i." + name, { style: { left: left(start), width: `${Math.max(0.15, 100 * (place(start + length) - place(start)))}%` } }, ...inside);
  const row = (depth, label, length, bars, detail) => {
    const line = h("div.wrow", { style: { "--depth": depth } }, h("div.wname", {}, label), h("div.wlength", {}, length), h("div.wbars", {}, bars));
    if (!detail) return rows.push(line);
    const more = h("details.wdetail", {}, h("summary", {}, line), detail);
    rows.push(more);
  };
  if (init) {
    row(0, "init", ms(init), bar("init", -init, init, one.imports ? h("u", { style: { width: `${Math.min(100, (100 * (one.imports.ms || 0)) / init)}%` }, title: `imports ${ms(one.imports.ms)}` }) : null),
      one.imports ? h("div.wmore", {}, `imports ${ms(one.imports.ms)} · `, h("a", { href: address("imports", one.key) }, "the import tree"), (one.imports.calls || []).map((call) => h("div", {}, callMark(call), ` ${call.tool} ${call.op} ${ms(call.ms)}`))) : null);
  }
  row(0, h("b", {}, "handler"), ms(one.ms), [bar("handler." + one.kind, 0, one.ms)]);
  const children = grouped(calls.sort((a, b) => a.from - b.from), (call) => call.pid);
  const ids = new Set(calls.map((call) => call.sid));
  const put = (call, depth) => {
    const bad = call.status !== "ok";
    row(depth, h("span", {}, callMark(call), " ", call.tool, " ", h("span.soft", {}, call.op), call.tries > 1 ? h("span.tries", {}, `${call.tries} attempts`) : null, call.bad ? h("span.tries", {}, `${call.bad} of ${call.items} failed`) : null),
      ms(call.ms), bar("call.s-" + (MARKS[call.status] ? call.status : "untold"), call.from, call.ms, phases(call)), callDetail(call));
    if (bad && call.msg) rows.push(h("div.wmessage", { style: { "--depth": depth } }, call.msg));
    for (const below of children.get(call.sid) || []) put(below, depth + 1);
  };
  for (const call of calls) if (!call.pid || !ids.has(call.pid)) put(call, 1);
  if (!calls.length && one.ncalls) rows.push(h("div.wmessage", {}, `${one.ncalls} calls, not told in detail`));
  if (own) row(0, h("span.soft", {}, "coldspan, after the response"), ms(own), bar("own", one.ms, own));
  if (one.kind === "killed") rows.push(h("div.wrow.end", {}, h("div.wname", {}, h("b", {}, "◆ killed: ", one.outcome), one.told ? h("span.soft", {}, ` told by ${one.told.replace("_", " ")}`) : null), h("div.wlength", {}, ms(one.ms)), h("div.wbars", {}, h("i.kill", { style: { left: left(one.ms) } }))));
  return h("div.waterfall", {}, scale(from, end, place), rows);
}
/* A frame without the folders that tell nothing: app.py:22 place_order, python3.13/socket.py:719 readinto. The function's own stand out. */
function shortFrame(frame) {
  return frame.replace(/^\/(?:var\/task|var\/runtime|opt\/python|.*\/site-packages|.*\/lib(?=\/python3))\//, "");
}
/* How long after the handler's begin a call began. Moments are whole ms: one just before the begin is the begin. */
function since(begin, moment) {
  const from = moment ? moment - begin : 0;
  return from < 0 && from > -2 ? 0 : from;
}
/* Where a moment lies, from 0 to 1. An init that would leave the handler no room has a share of its own, on a scale of its own. */
const INIT_SHARE = 0.24;
function placing(from, end) {
  const before = Math.max(0, -from), after = Math.max(0.001, end);
  const share = before / (before + after) > INIT_SHARE ? INIT_SHARE : before / (before + after);
  return (value) => (value < 0 ? share * (1 + value / Math.max(0.001, before)) : share + (1 - share) * (value / after));
}
function scale(from, end, place) {
  const rough = Math.max(0.001, end) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = from < 0 && place(0) > 0.08 ? [from] : []; // nearer to 0 their words would be one on the other
  for (let at = 0; at <= end; at += step) ticks.push(at);
  return h("div.wrow.scale", {}, h("div.wname"), h("div.wlength"), h("div.wbars", {}, ticks.map((at) => h("span", { style: { left: `${100 * place(at)}%` } }, at < 0 ? "−" + tick(-at) : tick(at)))));
}
function phases(call) {
  const parts = Object.entries(call.phases || {}).filter(([, value]) => value > 0).sort((a, b) => PHASE_ORDER.indexOf(a[0]) - PHASE_ORDER.indexOf(b[0]));
  return parts.map(([name, value]) => h("u.p-" + (PHASE_ORDER.includes(name) ? name : "other"), { title: `${name} ${ms(value)}`, style: { width: `${Math.min(100, (100 * value) / Math.max(0.001, call.ms))}%` } }));
}
function callDetail(call) {
  const lines = [];
  const named = Object.entries(call.phases || {});
  if (named.length) lines.push(h("div", {}, named.sort((a, b) => PHASE_ORDER.indexOf(a[0]) - PHASE_ORDER.indexOf(b[0])).map(([name, value]) => h("span.phase", {}, h("i.p-" + name), `${name} ${ms(value)}`))));
  const attributes = Object.entries(call.attrs || {});
  if (attributes.length) lines.push(h("dl", {}, attributes.map(([name, value]) => [h("dt", {}, name), h("dd", {}, typeof value === "string" ? value : JSON.stringify(value))])));
  if (call.late) lines.push(h("div.soft", {}, "ended after its invocation"));
  if (call.payload !== undefined) lines.push(h("pre.payload", {}, typeof call.payload === "string" ? call.payload : JSON.stringify(call.payload, null, 2)));
  return lines.length ? h("div.wmore", {}, lines) : null;
}
function factTable(one) {
  const platform = one.platform || {};
  const facts = [
    ["request id", one.rid], ["trace id", one.trace], ["ended", clock(one.t)], ["function version", one.version], ["trigger", one.trigger], ["tenant", one.tenant],
    ["waited in a queue", one.queue === undefined ? undefined : ms(one.queue)], ["at least one call open", one.callms === undefined ? undefined : ms(one.callms)], ["CPU", one.cpu === undefined ? undefined : ms(one.cpu)],
    ["response", one.bytes === undefined ? undefined : `${one.bytes.toLocaleString("en")} bytes`], ["memory size", one.mem ? `${one.mem} MB` : undefined], ["coldspan's own time", one.own === undefined ? undefined : ms(one.own / 1000)],
    ["dropped", one.dropped], ["calls still open", one.open || undefined], ["batch items given back", one.given_back === undefined ? undefined : `${one.given_back} of ${one.records || "?"}`], ["told by", one.told], ["evidence", one.evidence && one.evidence.join(", ")],
    ...Object.entries(platform).map(([name, value]) => ["platform: " + name.replace(/_(ms|mb)$/, "").replace(/_/g, " "), typeof value === "object" ? JSON.stringify(value) : /_ms$/.test(name) ? ms(+value) : /_mb$/.test(name) ? `${value} MB` : value]),
    ...Object.entries(one.notes || {}).map(([name, value]) => ["annotation: " + name, typeof value === "object" ? JSON.stringify(value) : value]),
  ].filter(([, value]) => value !== undefined && value !== "" && value !== null);
  return h("dl.facts", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
}
async function copy(button, text) {
  const before = button.textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { button.textContent = "not allowed here"; }
  setTimeout(() => { button.textContent = before; }, 1200);
}
