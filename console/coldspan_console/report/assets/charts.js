"use strict";
/* Charts by ECharts. Every kind has a colour and a shape of its own, from a palette that colour-blind people can tell apart. */

const PALETTE = {
  light: { warm: "#8fa3b5", cold: "#0072b2", error: "#d55e00", killed: "#a3195b", ink: "#1c2733", soft: "#66727f", line: "#dfe4e9", panel: "#ffffff",
    runtime: "#8fa3b5", layer: "#cc79a7", application: "#0072b2", own: "#009e73" },
  dark: { warm: "#77899b", cold: "#56b4e9", error: "#f0863a", killed: "#f06ba8", ink: "#e6ebf0", soft: "#98a5b3", line: "#2c3641", panel: "#171d24",
    runtime: "#77899b", layer: "#cc79a7", application: "#56b4e9", own: "#2fc295" },
};
const SHAPES = { warm: "circle", cold: "triangle", error: "rect", killed: "diamond" };
const KIND_WORDS = { warm: "warm", cold: "cold start", error: "error", killed: "killed" };
const drawn = [];

function colours() {
  return PALETTE[document.documentElement.dataset.theme === "dark" ? "dark" : "light"];
}
function chart(element, options, on = {}) {
  const made = echarts.init(element, null, { renderer: "canvas" });
  made.setOption({ animation: false, aria: { enabled: true }, textStyle: { fontFamily: "inherit", color: colours().soft }, ...options });
  for (const [name, then] of Object.entries(on)) made.on(name, then);
  drawn.push(made);
  return made;
}
function forget() {
  for (const made of drawn.splice(0)) made.dispose();
}
addEventListener("resize", () => { for (const made of drawn) made.resize(); });

function axis(colour) {
  return {
    axisLine: { lineStyle: { color: colour.line } }, axisTick: { show: false }, axisLabel: { color: colour.soft, fontSize: 11 },
    splitLine: { lineStyle: { color: colour.line } }, nameTextStyle: { color: colour.soft, fontSize: 11 },
  };
}
function tip(colour) {
  return { backgroundColor: colour.panel, borderColor: colour.line, textStyle: { color: colour.ink, fontSize: 12 }, confine: true };
}
/* A tooltip is markup to ECharts: what comes from the data goes through here. */
function safe(text) {
  return String(text).replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}

function timeChart(element, invocations) {
  const colour = colours();
  const byKind = grouped(invocations, (one) => one.kind);
  const few = invocations.length < 200; // more of them lie on each other
  const made = chart(element, {
    grid: { left: 56, right: 16, top: 34, bottom: 28 },
    legend: { top: 0, left: 0, itemGap: 18, itemWidth: 12, itemHeight: 10, textStyle: { color: colour.soft }, data: Object.values(KIND_WORDS) },
    tooltip: { ...tip(colour), trigger: "item", formatter: ({ data }) => {
      const one = data[2];
      return `<b>${safe(one.fn)}</b> ${safe(one.outcome)}, ${safe(one.start)}<br>${ms(one.ms)} · ${clock(one.t)}${one.etype ? "<br>" + safe(one.etype) : ""}`;
    } },
    xAxis: { type: "time", ...axis(colour), splitLine: { show: false } },
    yAxis: { type: "log", min: 0.1, ...axis(colour), axisLabel: { color: colour.soft, fontSize: 11, formatter: (value) => tick(value) } },
    toolbox: { show: false },
    brush: { xAxisIndex: 0, brushType: "lineX", transformable: false, throttleType: "debounce", brushStyle: { color: "rgba(120,140,160,.2)", borderColor: colour.soft } },
    series: Object.keys(KIND_WORDS).map((kind) => ({
      name: KIND_WORDS[kind], type: "scatter", symbol: SHAPES[kind], symbolSize: kind === "warm" ? (few ? 8 : 5) : kind === "cold" ? 9 : 10,
      z: { warm: 1, cold: 2, error: 3, killed: 4 }[kind], large: false, progressive: 0,
      itemStyle: { color: colour[kind], opacity: kind === "warm" && !few ? 0.55 : 0.95 },
      data: (byKind.get(kind) || []).map((one) => [one.t, Math.max(0.1, one.ms), one]),
    })),
  }, { click: ({ data }) => data && data[2] && go("invocation", data[2].key) });
  made.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption: { brushType: "lineX", brushMode: "single" } });
  made.on("brushEnd", ({ areas }) => {
    const range = areas[0] && areas[0].coordRange;
    if (range && range[1] - range[0] > 1) narrow({ from: Math.floor(range[0]), to: Math.ceil(range[1]) });
  });
  return made;
}

function latencyChart(element, invocations) {
  const colour = colours();
  const edges = [];
  for (let edge = 0.1; edge < 1e6; edge *= 10 ** 0.1) edges.push(edge);
  const bins = new Map();
  for (const one of invocations) {
    const bin = Math.max(0, Math.min(edges.length - 1, Math.floor(10 * Math.log10(Math.max(0.1, one.ms) / 0.1))));
    const found = bins.get(bin) || { warm: 0, cold: 0, error: 0, killed: 0 };
    found[one.kind] += 1;
    bins.set(bin, found);
  }
  const used = [...bins.keys()].sort((a, b) => a - b);
  const range = [];
  if (used.length) for (let bin = Math.max(0, used[0] - 1); bin <= used[used.length - 1] + 1; bin += 1) range.push(bin);
  return chart(element, {
    grid: { left: 44, right: 10, top: 12, bottom: 26 },
    tooltip: { ...tip(colour), trigger: "axis", axisPointer: { type: "shadow" } },
    xAxis: { type: "category", data: range.map((bin) => ms(edges[bin] || 1e6)), ...axis(colour), splitLine: { show: false } },
    yAxis: { type: "value", minInterval: 1, ...axis(colour) },
    series: Object.keys(KIND_WORDS).map((kind) => ({
      name: KIND_WORDS[kind], type: "bar", stack: "all", barCategoryGap: "12%", itemStyle: { color: colour[kind] },
      data: range.map((bin) => (bins.get(bin) || {})[kind] || 0),
    })),
  });
}

/* The import tree of a cold start, as an icicle: width is time, the children of a module lie below it. */
function flameChart(element, tree, search, origin) {
  const colour = colours();
  const boxes = [];
  const starts = [0];
  let deepest = 0;
  for (const [name, depth, total, own] of tree) {
    const from = starts[depth] || 0;
    boxes.push({ value: [from, from + total, depth, total, own, name] });
    starts[depth] = from + total;
    starts[depth + 1] = from;
    deepest = Math.max(deepest, depth);
  }
  const end = Math.max(1, ...boxes.map((box) => box.value[1]));
  element.style.height = `${(deepest + 1) * 22 + 40}px`;
  return chart(element, {
    grid: { left: 8, right: 8, top: 6, bottom: 28 },
    tooltip: { ...tip(colour), formatter: ({ value }) => `<b>${safe(value[5])}</b><br>with what it imports ${ms(value[3] / 1000)}<br>itself ${ms(value[4] / 1000)}<br>${safe(origin(value[5]))}` },
    xAxis: { type: "value", min: 0, max: end, ...axis(colour), axisLabel: { color: colour.soft, fontSize: 11, formatter: (value) => tick(value / 1000) } },
    yAxis: { type: "value", min: 0, max: deepest + 1, inverse: true, show: false },
    dataZoom: [{ type: "inside", xAxisIndex: 0, filterMode: "weakFilter" }],
    series: [{
      type: "custom", encode: { x: [0, 1], y: 2 }, data: boxes, clip: true,
      renderItem: (parameters, api) => {
        const name = boxes[parameters.dataIndex].value[5];
        const [x, y] = api.coord([api.value(0), api.value(2)]);
        const width = api.size([api.value(1) - api.value(0), 0])[0];
        const height = api.size([0, 1])[1] - 2;
        if (width < 0.4) return null;
        const found = search && String(name).toLowerCase().includes(search.toLowerCase());
        return {
          type: "rect", shape: { x, y, width: Math.max(0.5, width - 1), height, r: 2 },
          style: { fill: found ? colour.killed : colour[origin(name)] || colour.runtime, opacity: search && !found ? 0.3 : 0.9 },
          textContent: width > 40 ? { style: { text: String(name), fill: "#fff", fontSize: 11, width: width - 8, overflow: "truncate" } } : undefined,
          textConfig: { position: "insideLeft", inside: true },
        };
      },
    }],
  });
}
