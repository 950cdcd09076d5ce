"use strict";

// The slider: of each run, the newest sheet up to its epoch.
for (const slider of document.querySelectorAll("input[data-epochs]")) {
  const epochs = slider.dataset.epochs.split(" ").map(Number);
  const runs = [...document.querySelectorAll(".sheets")].map(run => [...run.querySelectorAll("[data-epoch]")]);
  const show = () => {
    const epoch = epochs[slider.value];
    for (const sheets of runs) {
      const last = sheets.filter(sheet => Number(sheet.dataset.epoch) <= epoch).pop() || sheets[0];
      for (const sheet of sheets) sheet.hidden = sheet !== last;
    }
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    slider.parentElement.querySelector("output").value = epoch;
  };
  slider.addEventListener("input", show);
  show();  // a browser may have kept the place of an earlier visit
}

// A film shows at first what it comes to; played from there, it begins at its beginning.
for (const film of document.querySelectorAll("video")) {
  const end = () => { film.currentTime = film.duration - 0.01; };
  if (film.readyState > 0) end();
  else film.addEventListener("loadedmetadata", end);
}

// The charts.
const HEIGHT = 240;
const DASHES = [[], [8, 5], [2, 4], [10, 4, 2, 4]];
const UNITS = { steps: "generator steps", images: "real images", minutes: "minutes" };
const places = [...document.querySelectorAll(".plot")];
const charts = JSON.parse(document.getElementById("charts").textContent).map((chart, number) => ({
  ...chart,
  hidden: new Set(),
  place: places[number],
  legend: places[number].parentElement.querySelector(".legend"),
}));

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 6 });
const long = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
const tick = value => (value === null ? "" : Math.abs(value) < 10000 ? long.format(value) : short.format(value));

// What a y axis shows: some room around the values, even where these are all the same, or there is none.
function range(_, low, high) {
  if (low === null || (low === 0 && high === 0)) return [0, 1];
  const room = low === high ? Math.abs(low) / 2 : 0;
  return uPlot.rangeNum(low - room, high + room, 0.1, true);
}

// Axes that all curves of a chart share; a curve has no value where only another one has a point.
function table(chart, over) {
  const columns = chart.curves.map(curve => {
    const points = curve[over].map((x, place) => [x, curve.values[place]]).filter(([x]) => x !== null);
    return [points.map(([x]) => x), points.map(([, y]) => y)];
  });
  return uPlot.join(columns);
}

// The value of a curve at the cursor, or the one before it.
function valueAt(column, place) {
  while (place > 0 && column[place] === undefined) place--;
  return column[place];
}

function tell(chart) {
  const { plot, legend } = chart;
  const place = plot.cursor.idx;
  const there = typeof place === "number" && plot.cursor.left >= 0;
  legend.querySelector(".at").textContent = there ? `at ${long.format(plot.data[0][place])}` : "";
  legend.querySelectorAll("b").forEach((text, number) => {
    const value = there ? valueAt(plot.data[number + 1], place) : null;
    text.textContent = typeof value === "number" ? long.format(value) : "";
  });
}

function makeLegend(chart) {
  const buttons = chart.curves.map((curve, number) => {
    const button = document.createElement("button");
    const key = document.createElement("i");
    const label = document.createElement("span");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    key.className = `key c${curve.look} d${curve.dash}`;
    label.textContent = curve.label;
    button.append(key, label, document.createElement("b"));
    button.addEventListener("click", () => {
      const shown = !chart.hidden.delete(number);
      if (shown) chart.hidden.add(number);
      button.setAttribute("aria-pressed", String(!shown));
      chart.plot.setSeries(number + 1, { show: !shown });
    });
    return button;
  });
  const at = document.createElement("span");
  at.className = "at";
  chart.legend.append(...buttons, at);
}

function draw(chart, over) {
  if (chart.plot) chart.plot.destroy();
  const ink = colour("--quiet");
  const axis = { stroke: ink, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const options = {
    width: chart.place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 7 } },
    scales: { x: { time: false }, y: chart.share ? { range: [-0.03, 1.03] } : { range } },
    axes: [
      { ...axis, size: 30, gap: 6, label: UNITS[over], labelSize: 18, labelFont: "12px system-ui", values: (_, ticks) => ticks.map(tick) },
      { ...axis, gap: 6, size: (_, ticks) => 16 + 7 * Math.max(3, ...(ticks || []).map(text => text.length)), values: (_, ticks) => ticks.map(tick) },
    ],
    series: [
      {},
      ...chart.curves.map((curve, number) => ({
        stroke: colour(`--c${curve.look}`),
        points: { fill: colour(`--c${curve.look}`), size: 5, space: 24 },
        width: 1.75,
        dash: DASHES[curve.dash],
        show: !chart.hidden.has(number),
      })),
    ],
    hooks: { setCursor: [plot => chart.plot === plot && tell(chart)] },
  };
  chart.plot = new uPlot(options, table(chart, over), chart.place);
}

function keyed(chart, event) {
  const { plot } = chart;
  const xs = plot.data[0];
  const { min, max } = plot.scales.x;
  if (!xs.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const seen = xs.map((_, place) => place).filter(place => xs[place] >= min && xs[place] <= max);
  const first = seen[0] ?? 0;
  const last = seen[seen.length - 1] ?? xs.length - 1;
  const now = plot.cursor.left >= 0 && typeof plot.cursor.idx === "number" ? plot.cursor.idx : null;
  const far = event.shiftKey ? 10 : 1;
  const go = place => {
    const kept = Math.min(Math.max(place, first), last);
    plot.setCursor({ left: plot.valToPos(xs[kept], "x"), top: HEIGHT / 3 });
  };
  const zoom = factor => {
    const middle = now === null ? (min + max) / 2 : xs[now];
    const low = Math.max(middle - ((middle - min) * factor), xs[0]);
    const high = Math.min(middle + ((max - middle) * factor), xs[xs.length - 1]);
    if (high > low) plot.setScale("x", { min: low, max: high });
  };
  const moves = {
    ArrowRight: () => go(now === null ? first : now + far),
    ArrowLeft: () => go(now === null ? last : now - far),
    Home: () => go(first),
    End: () => go(last),
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    Escape: () => plot.setScale("x", { min: xs[0], max: xs[xs.length - 1] }),
  };
  if (moves[event.key]) {
    moves[event.key]();
    event.preventDefault();
  }
}

const over = () => (document.querySelector("input[name=over]:checked") || { value: "steps" }).value;
const drawAll = () => charts.forEach(chart => draw(chart, over()));

for (const chart of charts) {
  makeLegend(chart);
  chart.place.addEventListener("keydown", event => keyed(chart, event));
}
drawAll();
document.querySelectorAll("input[name=over]").forEach(choice => choice.addEventListener("change", drawAll));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new ResizeObserver(() => {
  for (const { plot, place } of charts) {
    if (place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }
}).observe(document.body);
