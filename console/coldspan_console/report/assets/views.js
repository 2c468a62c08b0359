"use strict";
/* The views. Each is a function that fills the main element. */

const PAGE = 60; // rows of the list that exist at a time

function figure(label, value, note, kind) {
  return h("div.figure" + (kind ? "." + kind : ""), {}, h("span.label", {}, label), h("strong", {}, value), h("span.note", {}, note || ""));
}
function panel(title, note, ...children) {
  return h("section.panel", {}, h("h2", {}, title, note ? h("small", {}, note) : null), ...children);
}
function badge(one) {
  const mark = GOOD.has(one.outcome) ? "✓" : one.kind === "killed" ? "◆" : "✗";
  return h("span.badge." + one.kind, {}, h("i", { "aria-hidden": "true" }, mark), " ", one.outcome || "?");
}
function startOf(one) {
  return one.start && one.start !== "warm" ? h("span.start", {}, "▲ ", one.start, one.init ? " " + ms(one.init) : "") : h("span.soft", {}, one.start || "");
}
function callMark(call) {
  return h("span.mark.s-" + (MARKS[call.status] ? call.status : "untold"), { title: call.status }, MARKS[call.status] || "?");
}
function empty(text, ...more) {
  return h("div.empty", {}, h("p", {}, text), ...more);
}
function nothingHere() {
  if (!state.all.length) return empty("Nothing has been recorded yet.", h("p", {}, "Run a function: ", h("code", {}, "coldspan run"), ", and open this page anew."));
  return empty("Nothing passes the filters.", h("button", { onclick: () => go(state.view, "", {}) }, "Show everything"));
}

/* Overview */
function overview(main) {
  const all = state.shown;
  if (!all.length) return main.append(nothingHere());
  const durations = sorted(all.map((one) => one.ms));
  const failed = all.filter((one) => one.kind === "error");
  const killed = all.filter((one) => one.kind === "killed");
  const cold = all.filter((one) => one.start && one.start !== "warm");
  const own = sorted(all.filter((one) => one.start === "warm").map((one) => one.own || 0));
  const inits = sorted(cold.map((one) => one.init || 0).filter(Boolean));
  const calls = all.reduce((sum, one) => sum + Math.max(one.calls.length, one.ncalls || 0), 0);
  const badCalls = all.reduce((sum, one) => sum + one.nbad, 0);
  const dropped = all.reduce((sum, one) => sum + (one.dropped || 0), 0);
  const share = (part) => (part && all.length ? `${((100 * part) / all.length).toFixed(part === all.length ? 0 : 1)} %` : "none");
  main.append(
    h("div.figures", {},
      figure("invocations", all.length.toLocaleString("en"), `${new Set(all.map((one) => one.fn)).size} functions`.replace(/^1 functions/, "1 function")),
      figure("errors", failed.length, share(failed.length), failed.length ? "error" : ""),
      figure("killed", killed.length, share(killed.length), killed.length ? "killed" : ""),
      figure("cold starts", cold.length, inits.length ? `init p50 ${ms(percentile(inits, 50))}` : share(cold.length), cold.length ? "cold" : ""),
      figure("duration p50", ms(percentile(durations, 50)), `p95 ${ms(percentile(durations, 95))} · p99 ${ms(percentile(durations, 99))}`),
      figure("calls", calls.toLocaleString("en"), badCalls ? `${badCalls} failed` : "none failed", badCalls ? "error" : ""),
      figure("coldspan itself", own.length ? ms(percentile(own, 50) / 1000) : "–", `a warm invocation, p50${dropped ? ` · ${dropped} dropped` : ""}`, "own"),
    ));
  const time = h("div.chart.tall", { id: "time", role: "img", "aria-label": "Duration of each invocation over time" });
  main.append(panel("Invocations over time", "drag to zoom in, click one to open it", time));
  const latency = h("div.chart", { role: "img", "aria-label": "How often each duration came" });
  main.append(h("div.two", {}, panel("How long they took", "logarithmic", latency), panel("By function", "", functionTable(all))));
  main.append(h("div.two", {}, panel("What failed most", "", failureTable(failures(all).slice(0, 6), false)), panel("How they started", "", startTable(all))));
  timeChart(time, all);
  latencyChart(latency, all);
}
function functionTable(all) {
  const rows = [...grouped(all, (one) => one.fn || "?")].map(([name, items]) => {
    const durations = sorted(items.map((one) => one.ms));
    return { name, items, durations, failed: items.filter((one) => one.kind === "error" || one.kind === "killed").length };
  }).sort((a, b) => b.items.length - a.items.length);
  const most = Math.max(...rows.map((row) => percentile(row.durations, 99)));
  const at = (value) => `${Math.max(0, Math.min(100, (100 * Math.log10(Math.max(0.1, value) / 0.1)) / Math.log10(Math.max(1, most) / 0.1)))}%`;
  return h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["function", "n", "failed", "p50", "p95", "p99", "spread"].map((name) => h("th", {}, name)))),
    h("tbody", {}, rows.map((row) => {
      const [p50, p95, p99] = [50, 95, 99].map((share) => percentile(row.durations, share));
      return h("tr", {}, h("td", {}, h("a", { href: address("list", "", { ...state.filter, function: row.name }) }, row.name)), h("td.n", {}, row.items.length.toLocaleString("en")),
        h("td.n" + (row.failed ? ".bad" : ""), {}, row.failed), h("td.n", {}, ms(p50)), h("td.n", {}, ms(p95)), h("td.n", {}, ms(p99)),
        h("td", {}, h("span.spread", { title: `${ms(row.durations[0])} to ${ms(row.durations[row.durations.length - 1])}` },
          h("i", { style: { left: at(row.durations[0]), right: `calc(100% - ${at(p99)})` } }), h("b", { style: { left: at(p50) } }), h("u", { style: { left: at(p95) } }))));
    }))));
}
function startTable(all) {
  const kinds = [...grouped(all, (one) => one.start || "?")].sort((a, b) => b[1].length - a[1].length);
  return h("table", {}, h("tbody", {}, kinds.map(([name, items]) => {
    const inits = sorted(items.map((one) => one.init).filter(Boolean));
    return h("tr", {}, h("td", {}, name), h("td.n", {}, items.length.toLocaleString("en")),
      h("td.wide", {}, h("span.bar2", { style: { width: `${(100 * items.length) / all.length}%` } })), h("td.n.soft", {}, inits.length ? `init p50 ${ms(percentile(inits, 50))}, p95 ${ms(percentile(inits, 95))}` : ""));
  })));
}

/* What failed */
function failures(all) {
  const groups = new Map();
  const put = (key, one, fields) => {
    const group = groups.get(key) || { ...fields, items: [], count: 0 };
    group.items.push(one);
    group.count += 1;
    groups.set(key, group);
  };
  for (const one of all) {
    if (!GOOD.has(one.outcome)) put(`i|${one.fn}|${one.outcome}|${folded(one.etype + one.emsg)}`, one, { what: one.fn, operation: "invocation", status: one.outcome, message: [one.etype, one.emsg].filter(Boolean).join(": "), kind: one.kind });
    for (const call of one.calls)
      if (call.status !== "ok" && call.status !== "cancelled") put(`c|${call.tool}|${call.op}|${call.status}|${folded(call.msg)}`, one, { what: call.tool, operation: call.op, status: call.status, message: call.msg || "", call: true });
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}
function failureTable(groups, withDay = true) {
  if (!groups.length) return empty("Nothing failed.");
  const first = Math.min(...state.shown.map((one) => one.t)), last = Math.max(...state.shown.map((one) => one.t));
  return h("div.scroll", {}, h("table.failures", {}, h("tbody", {}, groups.map((group) => {
    const times = group.items.map((one) => one.t);
    const href = group.items.length === 1 ? address("invocation", group.items[0].key) : address("list", "", { ...state.filter, ...(group.call ? { tool: group.what } : { function: group.what }), q: [group.status, longest(group.message)].filter(Boolean).join(" ") });
    return h("tr", {}, h("td.n", {}, group.count + "×"), h("td", {}, group.call ? callMark(group) : h("span.mark.s-" + (group.kind === "killed" ? "in_flight" : "error"), {}, group.kind === "killed" ? "◆" : "✗")),
      h("td", {}, h("a", { href }, group.what, " ", group.operation), h("div.message", {}, h("b", {}, group.status), group.message ? " " + group.message : "")),
      h("td", {}, spark(times, first, last)), withDay ? h("td.soft.n", {}, clock(Math.max(...times))) : null);
  }))));
}
/* A word of a message that finds its like: the longest that has no digits. */
function longest(message) {
  return ((message || "").match(/[A-Za-z]{4,}/g) || []).sort((a, b) => b.length - a.length)[0] || "";
}
function spark(times, first, last) {
  const bins = new Array(24).fill(0);
  for (const time of times) bins[Math.min(23, Math.floor((24 * (time - first)) / Math.max(1, last - first + 1)))] += 1;
  const most = Math.max(...bins);
  return h("span.spark", { role: "img", "aria-label": "when" }, bins.map((bin) => h("i", { style: { height: `${bin ? 15 + (85 * bin) / most : 0}%` } })));
}
function failuresView(main) {
  if (!state.shown.length) return main.append(nothingHere());
  main.append(panel("What failed", "invocations and calls, alike ones together; ids and numbers in messages are folded", failureTable(failures(state.shown))));
}

/* The list: only the rows that are seen exist */
const COLUMNS = [["time", (one) => one.t], ["function", (one) => one.fn || ""], ["outcome", (one) => one.outcome || ""], ["start", (one) => one.init || 0], ["duration", (one) => one.ms], ["calls", (one) => one.calls.length], ["what was wrong", (one) => worst(one)]];
let order = { column: 0, down: true };
function worst(one) {
  if (one.etype) return one.etype + (one.emsg ? ": " + one.emsg : "");
  const bad = one.calls.find((call) => BAD_CALL.has(call.status)) || one.calls.find((call) => call.status !== "ok");
  return bad ? `${bad.tool} ${bad.op} ${bad.status}` : "";
}
function ordered(items) {
  const key = COLUMNS[order.column][1];
  return items.slice().sort((a, b) => { const [x, y] = [key(a), key(b)]; const way = x < y ? -1 : x > y ? 1 : 0; return order.down ? -way : way; });
}
function listView(main) {
  if (!state.shown.length) return main.append(nothingHere());
  const items = ordered(state.shown);
  const body = h("div.rows", { role: "rowgroup" });
  const rowHeight = 34;
  body.style.height = `${items.length * rowHeight}px`;
  const box = h("div.list", { role: "table", tabindex: "0", "aria-label": "Invocations", "aria-rowcount": items.length },
    h("div.row.head", { role: "row" }, COLUMNS.map(([name], index) => h("button", { role: "columnheader", "aria-sort": index === order.column ? (order.down ? "descending" : "ascending") : "none",
      onclick: () => { order = { column: index, down: order.column === index ? !order.down : true }; show(); } }, name, index === order.column ? (order.down ? " ↓" : " ↑") : ""))), body);
  const fill = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - 10);
    body.replaceChildren(...items.slice(first, first + PAGE).map((one, offset) => {
      const index = first + offset;
      return h("a.row" + (index === chosen ? ".chosen" : ""), { role: "row", "aria-rowindex": index + 1, href: address("invocation", one.key), style: { top: `${index * rowHeight}px` } },
        h("span", { role: "cell" }, clock(one.t)), h("span.name", { role: "cell" }, one.fn), h("span", { role: "cell" }, badge(one)), h("span", { role: "cell" }, startOf(one)),
        h("span.n", { role: "cell" }, ms(one.ms)), h("span", { role: "cell" }, callSummary(one)), h("span.message", { role: "cell" }, worst(one)));
    }));
  };
  let chosen = -1;
  box.addEventListener("scroll", () => requestAnimationFrame(fill));
  box.move = (by) => {
    chosen = Math.max(0, Math.min(items.length - 1, chosen + by));
    const top = chosen * rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top > box.scrollTop + box.clientHeight - 2 * rowHeight) box.scrollTop = top - box.clientHeight + 2 * rowHeight;
    fill();
  };
  box.open = () => chosen >= 0 && go("invocation", items[chosen].key);
  main.append(panel("Invocations", `${items.length.toLocaleString("en")} of ${state.all.length.toLocaleString("en")}`, box));
  fill();
}
function callSummary(one) {
  if (!one.calls.length) return h("span.soft", {}, one.ncalls ? `${one.ncalls} untold` : "");
  const groups = [...grouped(one.calls, (call) => call.status)].sort((a, b) => (a[0] === "ok") - (b[0] === "ok"));
  return h("span", {}, groups.map(([, calls]) => h("span.tally", {}, callMark(calls[0]), calls.length > 1 ? " " + calls.length : "")));
}

/* Service map */
function mapView(main) {
  const groups = grouped(state.shown.flatMap((one) => one.calls.map((call) => ({ fn: one.fn, ...call }))), (call) => `${call.fn}\u0000${call.tool}`);
  if (!groups.size) return main.append(state.shown.length ? empty("No call was recorded in these invocations.") : nothingHere());
  const span = Math.max(1, (Math.max(...state.shown.map((one) => one.t)) - Math.min(...state.shown.map((one) => one.t))) / 1000);
  const edges = [...groups.values()].map((calls) => {
    const durations = sorted(calls.map((call) => call.ms));
    const failed = calls.filter((call) => BAD_CALL.has(call.status) || call.status === "in_flight").length;
    const rate = calls.length / span;
    return { fn: calls[0].fn, tool: calls[0].tool, calls: calls.length, failed, share: `${Math.round((100 * failed) / calls.length) || "<1"} %`, p50: percentile(durations, 50), p95: percentile(durations, 95),
      rate: rate >= 1 ? `${rate.toFixed(1)}/s` : `${(rate * 60).toFixed(1)}/min`, list: calls };
  }).sort((a, b) => b.calls - a.calls);
  const functions = [...new Set(state.shown.map((one) => one.fn))].sort();
  main.append(panel("Service map", "width: how busy; dashed: something failed; click to list", h("div.scroll", {}, serviceMap(edges, functions.filter((name) => edges.some((edge) => edge.fn === name))))));
  main.append(panel("Its edges", "", h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["function", "calls", "n", "rate", "failed", "p50", "p95", "how they ended"].map((name) => h("th", {}, name)))),
    h("tbody", {}, edges.map((edge) => h("tr", {}, h("td", {}, edge.fn), h("td", {}, h("a", { href: address("list", "", { ...state.filter, function: edge.fn, tool: edge.tool }) }, edge.tool)), h("td.n", {}, edge.calls), h("td.n", {}, edge.rate),
      h("td.n" + (edge.failed ? ".bad" : ""), {}, edge.failed ? `${edge.failed} (${edge.share})` : "0"), h("td.n", {}, ms(edge.p50)), h("td.n", {}, ms(edge.p95)),
      h("td", {}, [...grouped(edge.list, (call) => call.status)].map(([, calls]) => h("span.tally", {}, callMark(calls[0]), " ", calls.length))))))))));
}

/* Functions on the left, what they call on the right; those that share calls lie near each other. */
function serviceMap(edges, functions) {
  const svg = (name, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const rank = (tool) => { const from = edges.filter((edge) => edge.tool === tool).map((edge) => functions.indexOf(edge.fn)); return from.reduce((sum, each) => sum + each, 0) / from.length; };
  const tools = [...new Set(edges.map((edge) => edge.tool))].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const step = 74, card = { width: 210, height: 46 }, width = 1120;
  const height = Math.max(functions.length, tools.length) * step + 16;
  const at = (index, total) => ((index + 0.5) * height) / total;
  const most = Math.max(...edges.map((edge) => edge.calls));
  const cut = (name) => (name.length > 26 ? name.slice(0, 25) + "…" : name);
  const leaving = new Map(), arriving = new Map();
  const next = (counts, name) => { const value = counts.get(name) || 0; counts.set(name, value + 1); return value; };
  const slot = (index, total) => (index - (total - 1) / 2) * Math.min(19, 64 / total);
  const from = (name) => edges.filter((edge) => edge.fn === name).length, into = (name) => edges.filter((edge) => edge.tool === name).length;
  const placed = edges.slice().sort((a, b) => tools.indexOf(a.tool) - tools.indexOf(b.tool) || functions.indexOf(a.fn) - functions.indexOf(b.fn));
  const lines = placed.map((edge) => {
    const y1 = at(functions.indexOf(edge.fn), functions.length) + slot(next(leaving, edge.fn), from(edge.fn));
    const y2 = at(tools.indexOf(edge.tool), tools.length) + slot(next(arriving, edge.tool), into(edge.tool));
    const x1 = card.width + 4, x2 = width - card.width - 10, middle = (x1 + x2) / 2;
    const text = `${edge.calls}× ${edge.rate} · ${edge.failed ? `${edge.failed} failed · ` : ""}${ms(edge.p50)}`;
    const line = svg("path", { d: `M${x1} ${y1} C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, class: "edge" + (edge.failed ? " bad" : ""), "stroke-width": 1.5 + 5 * Math.sqrt(edge.calls / most) });
    const words = svg("text", { x: x2 - 12, y: y2 - 7, class: "edge-text" + (edge.failed ? " bad" : ""), "text-anchor": "end" }, text);
    const link = svg("a", { href: address("list", "", { ...state.filter, function: edge.fn, tool: edge.tool }) }, svg("title", {}, `${edge.fn} → ${edge.tool}: ${edge.calls} calls, p50 ${ms(edge.p50)}, p95 ${ms(edge.p95)}, ${edge.failed} failed`), line, words);
    return link;
  });
  const box = (name, x, y, kind, bad, note) => svg("a", { href: address("list", "", { ...state.filter, [kind]: name }) }, svg("title", {}, name),
    svg("rect", { x, y: y - card.height / 2, width: card.width, height: card.height, rx: kind === "function" ? 10 : 23, class: "node " + kind + (bad ? " bad" : "") }),
    svg("text", { x: x + 18, y: y - 2, class: "node-text" }, cut(name)), svg("text", { x: x + 18, y: y + 14, class: "node-note" }, note));
  const sum = (list, key) => list.reduce((total, each) => total + each[key], 0);
  const nodes = [
    ...functions.map((name, index) => { const mine = state.shown.filter((one) => one.fn === name); const failed = mine.filter((one) => !GOOD.has(one.outcome)).length; return box(name, 4, at(index, functions.length), "function", failed, `${mine.length} invocations${failed ? `, ${failed} failed` : ""}`); }),
    ...tools.map((name, index) => { const mine = edges.filter((edge) => edge.tool === name); const failed = sum(mine, "failed"); return box(name, width - card.width - 4, at(index, tools.length), "tool", failed, `${sum(mine, "calls")} calls${failed ? `, ${failed} failed` : ""}`); }),
  ];
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "map", role: "group", "aria-label": "Functions and what they call" }, ...lines, ...nodes);
}

/* Imports of a cold start */
function importsView(main) {
  const with_ = state.shown.filter((one) => one.imports);
  if (!with_.length) return main.append(state.shown.length ? empty("No cold start among these invocations.") : nothingHere());
  const one = with_.find((each) => each.key === state.argument) || with_.find((each) => each.imports.tree && each.imports.tree.length) || with_[0];
  const { imports } = one;
  const origins = new Map((imports.packages || []).map(([name, origin]) => [name, origin]));
  const origin = (name) => origins.get(name) || origins.get(String(name).split(".")[0]) || "runtime";
  main.append(h("div.row-of", {}, h("label", {}, "cold start ", h("select", { onchange: (event) => go("imports", event.target.value) },
    with_.slice(0, 200).map((each) => h("option", { value: each.key, selected: each === one }, `${each.fn} · ${clock(each.t)} · init ${ms(each.init)}`)))), h("a", { href: address("invocation", one.key) }, "its invocation")));
  const split = Object.entries(imports.split || {}).filter(([, value]) => value > 0);
  const sum = split.reduce((total, [, value]) => total + value, 0) || 1;
  main.append(panel("Import time", `${ms(imports.ms)} of ${ms(one.init)} init, ${imports.modules || 0} modules`,
    h("div.split", {}, split.map(([name, value]) => h("div." + name, { style: { "flex-grow": Math.max(0.02, value / sum) } }, h("span", {}, `${name} ${ms(value)}`))))));
  if (imports.tree && imports.tree.length) {
    const element = h("div.chart.flame", { role: "img", "aria-label": "The import tree" });
    const search = h("input", { type: "search", placeholder: "find a module", "aria-label": "Find a module" });
    main.append(panel("Import tree", "width is time; what a module imports lies below it; the wheel zooms", h("div.row-of", {}, search), h("div.flame-box", {}, element)));
    let made = flameChart(element, imports.tree, "", origin);
    search.addEventListener("input", () => { made.dispose(); drawn.splice(drawn.indexOf(made), 1); made = flameChart(element, imports.tree, search.value, origin); });
  } else main.append(panel("Import tree", "", empty("The trees of older cold starts are left out of this page; choose a later one, or filter.")));
  const packages = (imports.packages || []).filter((each) => each[2] > 0).sort((a, b) => b[2] - a[2]).slice(0, 40);
  const most = packages.length ? packages[0][2] : 1;
  main.append(panel("Costliest packages", "by their own time", h("div.scroll", {}, h("table", {}, h("tbody", {}, packages.map(([name, from, own, modules]) => h("tr", {}, h("td", {}, name), h("td.soft", {}, from), h("td.n", {}, ms(own)),
    h("td.wide", {}, h("span.bar2." + from, { style: { width: `${(100 * own) / most}%` } })), h("td.n.soft", {}, `${modules} module${modules === 1 ? "" : "s"}`))))))));
}
