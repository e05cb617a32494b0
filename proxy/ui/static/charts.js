// Draws the last hour: what went through, and what the proxy added. The table below says the same in figures.

const POINTS_MAX = 360;
const HOUR_S = 3600;
const box = document.querySelector(".charts");
const dark = matchMedia("(prefers-color-scheme: dark)");
let points = [];
let charts = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axes(decimals) {
  const grid = { stroke: colour("line"), width: 1 };
  const common = { stroke: colour("soft"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return [
    { ...common, grid: { show: false }, size: 24, space: 70, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toISOString().slice(11, 16)) },
    { ...common, size: 46, space: 30, values: (_, ticks) => ticks.map((value) => value.toLocaleString("en", { maximumFractionDigits: decimals })) },
  ];
}

function chart(id, series, y, decimals) {
  const place = document.getElementById(id);
  place.replaceChildren();
  const now = () => Math.max(Date.now() / 1000, points.length ? points.at(-1).at_ms / 1000 : 0);
  return new window.uPlot(
    {
      width: place.clientWidth, height: place.clientHeight, series: [{}, ...series], axes: axes(decimals),
      scales: { x: { time: true, range: () => [now() - HOUR_S, now()] }, y },
      legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { show: false } }, padding: [8, 8, 0, 0],
    },
    [[]],
    place,
  );
}

function draw() {
  for (const one of charts) one.destroy();
  const bars = window.uPlot.paths.bars({ size: [0.8, 14], align: 1 });
  const area = (label, name) => ({ label, fill: colour(name), stroke: colour(name), width: 0, paths: bars, points: { show: false } });
  const line = (label, name, width, dash) => ({ label, stroke: colour(name), width, dash, spanGaps: false, points: { show: true, size: 3.5, width: 0, fill: colour(name) } });
  const fromZero = (least) => ({ range: (_, __, highest) => [0, Math.max(least, (highest || 0) * 1.15)] });
  charts = [
    // Drawn from the tallest: each hides the lower part of the one before, so that they stand upon each other.
    chart("flow-chart", [area("allowed", "bar"), area("scaled down", "accent"), area("blocked", "ink")], fromZero(5), 0),
    chart("latency-chart", [line("median", "accent", 2), line("p99", "soft", 1.5, [4, 3])], fromZero(1), 2),
  ];
  fill();
}

// Requests of each minute; of a minute without any, nothing.
function minutes() {
  const sums = new Map();
  for (const one of points) {
    const at = Math.floor((one.at_ms - 1) / 60000) * 60;
    const sum = sums.get(at) ?? [0, 0, 0];
    sums.set(at, [sum[0] + one.allowed + one.scaled + one.blocked, sum[1] + one.scaled + one.blocked, sum[2] + one.blocked]);
  }
  return [[...sums.keys()], ...[0, 1, 2].map((index) => [...sums.values()].map((sum) => sum[index]))];
}

function fill() {
  const at = points.map((one) => one.at_ms / 1000);
  charts[0].setData(minutes());
  charts[1].setData([at, points.map((one) => one.added_p50_ms), points.map((one) => one.added_p99_ms)]);
}

const response = await fetch("/ui/flow");
if (response.ok) {
  points = (await response.json()).points;
  box.hidden = false;
  draw();
  document.addEventListener("flow", (event) => {
    points.push(event.detail);
    if (points.length > POINTS_MAX) points.shift();
    fill();
  });
  dark.addEventListener("change", draw);
  let width = box.clientWidth;
  new ResizeObserver(() => {
    if (box.clientWidth !== width) {
      width = box.clientWidth;
      draw();
    }
  }).observe(box);
}
