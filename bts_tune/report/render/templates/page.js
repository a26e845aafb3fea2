"use strict";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const read = (element) => element ? JSON.parse(element.textContent) : null;

// A click on a column's title sorts by it: down, then up. Cells without a number stay at the end.
document.querySelectorAll("table").forEach((table) => {
  const body = table.tBodies[0];
  if (body.rows.length < 2) return;
  table.querySelectorAll("th").forEach((title, column) => {
    const button = document.createElement("button");
    button.append(...title.childNodes);
    title.append(button);
    const numeric = title.classList.contains("number");
    const key = (row) => {
      const cell = row.cells[column];
      const text = cell.dataset.key ?? cell.textContent.trim();
      return numeric ? parseFloat(text.replace("\u2212", "-").replace(/^[<>]\s*/, "")) : text;
    };
    const absent = (value) => numeric ? Number.isNaN(value) : value === "" || value === "\u2013";
    button.addEventListener("click", () => {
      const up = title.getAttribute("aria-sort") !== "ascending" ? 1 : -1;
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", up === 1 ? "ascending" : "descending");
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (absent(x) || absent(y)) return absent(x) - absent(y);
        return up * (numeric ? x - y : x.localeCompare(y, undefined, { numeric: true }));
      };
      body.append(...Array.from(body.rows).sort(order));
    });
  });
});
if (window.matchMedia("(max-width: 1099px)").matches) document.getElementById("contents").open = false;
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));

// What is seen of the slices of a trial: one at a time, with the outlines of truth and prediction.
const galleries = new Map();
const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes, ...children) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const slicePicture = (data, slice, title) => svg(
  "svg", { viewBox: `0 0 ${data.size} ${data.size}`, role: "img", "aria-label": title, class: "slice" },
  svg("image", { href: `data:image/jpeg;base64,${slice.image}`, width: data.size, height: data.size }),
  svg("path", { d: slice.truth, class: "truth" }),
  svg("path", { d: slice.predicted, class: "predicted" }),
);
const told = (slice) => [slice.kind, slice.iou === null ? "no tumour" : `IoU ${slice.iou.toFixed(2)}`, slice.name].filter(Boolean).join(" \u00b7 ");

const drawGallery = (figure, data) => {
  galleries.set(data.trial, data);
  const quality = (slice) => slice.iou ?? (slice.predicted ? -1 : 2);
  const orders = {
    "as chosen": data.slices,
    "worst first": [...data.slices].sort((a, b) => quality(a) - quality(b)),
    "best first": [...data.slices].sort((a, b) => quality(b) - quality(a)),
  };
  let slices = orders["as chosen"];
  const stage = make("div", { class: "stage" });
  const caption = make("p", { class: "note", role: "status" });
  const slider = make("input", { type: "range", min: "1", max: String(slices.length), value: "1", "aria-label": "Slice" });
  const show = () => {
    const slice = slices[slider.value - 1];
    stage.replaceChildren(slicePicture(data, slice, told(slice)));
    caption.textContent = `${slider.value} of ${slices.length} \u00b7 ${told(slice)}`;
    slider.setAttribute("aria-valuetext", caption.textContent);
  };
  const toggle = (name, label) => {
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => stage.classList.toggle(`no-${name}`, !box.checked));
    return make("label", { class: name }, box, ` ${label}`);
  };
  const order = make("select", { "aria-label": "Order of the slices" }, ...Object.keys(orders).map((name) => make("option", {}, name)));
  order.addEventListener("change", () => { slices = orders[order.value]; slider.value = "1"; show(); });
  slider.addEventListener("input", show);
  figure.append(make(
    "div", { class: "gallery" }, stage,
    make("div", { class: "controls" }, slider, make("label", {}, "Order ", order), toggle("truth", "truth"), toggle("predicted", "prediction"), caption),
  ));
  figure.classList.add("explored");
  show();
};
document.querySelectorAll('figure[data-plot="gallery"]').forEach((figure) => drawGallery(figure, read(figure.querySelector("script"))));

// The plots of trials.
const all = read(document.getElementById("trials"));
// Okabe and Ito's colours, which colour-blind readers tell apart; the lighter ones on a dark page.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const COLORS = { get searched() { return dark.matches ? "#56B4E9" : "#0072B2"; }, get best() { return dark.matches ? "#E69F00" : "#D55E00"; } };
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

if (all && window.echarts) {
  const byId = new Map(all.trials.map((trial) => [trial.id, trial]));
  const charts = [];
  // Whole numbers as they are: of a seed, every digit counts.
  const number = (value) => typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)).toString() : String(value);
  const settingsOf = (trial) => all.varied.map((field, place) => [field, trial.set[place]]);
  const summary = (trial) => [
    trial.rank ? `rank ${trial.rank}` : trial.status,
    `${all.objective} ${number(trial.value)}`,
    ...(all.objective === "Dice loss" ? [] : [`Dice loss ${trial.loss}`]),
    `IoU ${trial.iou}`,
    `best epoch ${trial.best} of ${trial.epochs}`,
  ];
  const tip = (trial) => {
    const rows = settingsOf(trial).slice(0, 14).map(([field, value]) => `<tr><td>${escaped(field)}</td><td>${escaped(number(value))}</td></tr>`);
    return `<b>${escaped(trial.name)}</b> ${escaped(trial.role)}<br>${summary(trial).map(escaped).join("<br>")}<table>${rows.join("")}</table>Click: its curve and all settings`;
  };

  // The panel of one trial.
  const panel = document.getElementById("trial");
  let opener = null;
  let panelChart = null;
  const close = () => {
    panel.hidden = true;
    panelChart?.dispose();
    panelChart = null;
    opener?.focus?.();
  };
  const curveOf = (trial) => ({
    animation: false, textStyle: { color: color("ink") },
    grid: { left: 52, right: 12, top: 14, bottom: 38 },
    tooltip: { trigger: "axis", confine: true, valueFormatter: number },
    xAxis: { type: "value", name: "Epoch", nameLocation: "middle", nameGap: 24, minInterval: 1, min: Math.min(1, ...trial.x), ...axisStyle() },
    yAxis: { type: "value", scale: true, ...axisStyle() },
    series: [{
      type: "line", name: all.objective, data: trial.x.map((x, place) => [x, trial.y[place]]), showSymbol: trial.x.length < 2,
      lineStyle: { color: COLORS.searched }, itemStyle: { color: COLORS.searched },
      markPoint: { symbol: "circle", symbolSize: 9, label: { show: false }, itemStyle: { color: COLORS.best }, data: trial.best ? [{ coord: [trial.best, trial.value] }] : [] },
    }],
  });
  const open = (trial) => {
    if (panel.hidden) opener = document.activeElement;
    const rows = (pairs) => make("table", {}, make("tbody", {}, ...pairs.map(([field, value]) => make("tr", {}, make("th", { scope: "row" }, field), make("td", {}, number(value))))));
    const leave = make("button", { type: "button", class: "close", "aria-label": "Close" }, "\u00d7");
    leave.addEventListener("click", close);
    const curve = make("div", { class: "curve", role: "img", "aria-label": `Validation ${all.objective} of ${trial.name} over its epochs` });
    const gallery = galleries.get(trial.id);
    const slices = gallery ? [make("h3", {}, "Slices"), make("div", { class: "thumbs" }, ...gallery.slices.map((slice) => make("figure", {}, slicePicture(gallery, slice, told(slice)), make("figcaption", {}, told(slice)))))] : [];
    panel.replaceChildren(
      leave,
      make("h2", {}, trial.name, ...(trial.role ? [make("small", {}, ` ${trial.role}`)] : [])),
      make("p", {}, [...summary(trial), `${trial.stage} stage`, trial.status, trial.time].join(" \u00b7 ")),
      make("h3", {}, `Validation ${all.objective}`), curve,
      make("h3", {}, "Settings that differ between trials"), rows(settingsOf(trial)),
      ...slices,
      make("details", {}, make("summary", {}, "Settings that all trials share"), rows(Object.entries(all.common))),
    );
    panel.hidden = false;
    panelChart?.dispose();
    panelChart = echarts.init(curve);
    panelChart.setOption(curveOf(trial));
    leave.focus();
  };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) close(); });

  const axisStyle = () => ({
    axisLine: { lineStyle: { color: color("soft") } }, axisLabel: { color: color("soft"), fontSize: 12, hideOverlap: true },
    nameTextStyle: { color: color("soft"), fontSize: 12 }, splitLine: { lineStyle: { color: color("line") } },
  });
  const base = () => ({
    animation: false, hoverLayerThreshold: 200, textStyle: { color: color("ink"), fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 12 },
    tooltip: {
      trigger: "item", confine: true, backgroundColor: color("page"), borderColor: color("line"), textStyle: { color: color("ink"), fontSize: 12 }, className: "tip",
      formatter: (item) => { const trial = byId.get(item.data?.trial ?? item.data?.name); return trial ? tip(trial) : ""; },
    },
  });

  /* Put a chart into a figure. `draw` gives its option, and `places(trial)` where a trial is in it, for the keyboard. */
  const chart = (figure, height, draw, { order = all.trials, highlight = () => {} } = {}) => {
    const place = make("div", { class: "chart", tabindex: "0", role: "application", style: `height:${height}px`, "aria-label": `${figure.dataset.title}. Arrow keys go through the trials, Enter opens one.` });
    figure.append(place);
    figure.classList.add("explored");
    const one = echarts.init(place);
    const redraw = () => one.setOption(draw(), { notMerge: true });
    redraw();
    charts.push({ one, redraw });
    one.on("click", (item) => { const trial = byId.get(item.data?.trial ?? item.data?.name); if (trial) { place.focus(); open(trial); } });
    let at = -1;
    place.addEventListener("keydown", (event) => {
      const trials = typeof order === "function" ? order() : order;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step && trials.length) {
        event.preventDefault();
        at = (at + step + trials.length) % trials.length;
        highlight(one, trials[at]);
        document.getElementById("told").textContent = `${trials[at].name}: ${summary(trials[at]).join(", ")}`;
        figure.querySelector(".at").textContent = `${trials[at].name}: ${summary(trials[at]).join(", ")}. Enter opens it.`;
      } else if (event.key === "Enter" && at >= 0) {
        event.preventDefault(); // or the same key would press the button that closes it
        open(trials[at]);
      }
    });
    figure.append(make("p", { class: "note at" }, `${sample()}Hover: a trial and its settings. Click: its curve and slices. Keyboard: arrow keys and Enter.`));
    return one;
  };
  const sample = () => all.trials.length < all.total ? `Drawn: ${all.trials.length} of ${all.total} trials, the best half of these, and others at even steps. ` : "";

  // Baselines are told apart by dashes and symbols too.
  const SYMBOLS = ["circle", "rect", "triangle", "diamond", "roundRect"];
  const DASHES = ["solid", [7, 3], [2, 3], [7, 3, 2, 3], [12, 4]];
  const tint = (name) => {
    if (/^#(000000|4d4d4d|7a7a7a|2b2b2b)$/.test(name)) return color("ink");
    return dark.matches ? { "#0072B2": "#56B4E9", "#D55E00": "#E69F00", "#009E73": "#2cc79d" }[name] ?? name : name;
  };

  const median = (values) => {
    const ordered = [...values].sort((a, b) => a - b);
    return (ordered[Math.floor((ordered.length - 1) / 2)] + ordered[Math.ceil((ordered.length - 1) / 2)]) / 2;
  };

  // A legend takes as many rows as its labels need: none of them is cut off, or hidden behind an arrow.
  const legendHeight = (labels, width) => {
    let rows = 1, used = 0;
    for (const label of labels) {
      const own = 6.6 * label.length + 48;
      if (used && used + own > width) { rows += 1; used = 0; }
      used += own;
    }
    return 20 * rows;
  };

  // A logarithmic axis has no place for 0: it stands a decade below the other values, and is labelled as what it is.
  const logarithmic = (values) => {
    const positive = values.filter((value) => value > 0);
    if (!positive.length || values.some((value) => value < 0)) return null;
    const zero = positive.length < values.length ? 10 ** (Math.floor(Math.log10(Math.min(...positive))) - 1) : null;
    return { zero, at: (value) => value > 0 ? value : zero, label: (value) => zero !== null && value < 1.01 * zero ? "0" : number(value) };
  };

  // More thin lines than these are slow, and hide each other.
  const MOST_LINES = 300;

  const plots = {
    curves(figure, data) {
      const named = new Set(data.lines.flatMap((line) => line.trials));
      const unnamed = all.trials.filter((trial) => !named.has(trial.id));
      const step = Math.ceil(unnamed.length / MOST_LINES);
      const others = unnamed.filter((_, place) => place % step === 0);
      const panels = [
        { title: `Validation ${all.objective} (${all.better} is better)`, values: (trial) => trial.y },
        { title: "Gap: validation minus training Dice loss", values: (trial) => trial.gap },
      ];
      const line = (trial, values) => trial.x.map((x, place) => [x, values[place]]).filter((point) => point[1] !== null);
      const ends = (points) => points.length ? [Math.min, Math.max].map((end) => points.reduce(([x, y], point) => [end(x, point[0]), end(y, point[1])])) : [];
      const labels = data.lines.map((one) => one.label);
      let pointed = null;
      const draw = () => {
        const narrow = figure.clientWidth < 700, below = legendHeight(labels, figure.clientWidth);
        const grids = narrow ? [{ left: 48, right: 10, top: below + 40, height: 180 }, { left: 48, right: 10, top: below + 304, height: 160 }]
          : [{ left: 48, width: "41%", top: below + 54, bottom: 42 }, { right: 12, width: "41%", top: below + 54, bottom: 42 }];
        const baselines = data.lines.filter((one) => one.dashed);
        const shown = data.lines.map((one) => ({ ...one, kind: baselines.indexOf(one), color: tint(one.color) }));
        const series = panels.flatMap((part, index) => [
          // Thin lines do not widen an axis: these dots, which nobody sees, do.
          { type: "scatter", silent: true, symbolSize: 0, xAxisIndex: index, yAxisIndex: index, data: ends(others.flatMap((trial) => line(trial, part.values(trial)))) },
          {
            type: "scatter", xAxisIndex: index, yAxisIndex: index, z: 1, symbolSize: 4, itemStyle: { color: color("faint"), opacity: 0.8 },
            data: others.map((trial) => ({ trial: trial.id, coords: line(trial, part.values(trial)) })).filter((one) => one.coords.length === 1).map((one) => ({ trial: one.trial, value: one.coords[0] })),
          },
          {
            type: "lines", coordinateSystem: "cartesian2d", polyline: true, xAxisIndex: index, yAxisIndex: index, z: 1, progressive: 0,
            lineStyle: { color: color("faint"), width: 1, opacity: 0.8 }, emphasis: { lineStyle: { color: COLORS.best, width: 3, opacity: 1 } },
            data: others.map((trial) => ({ trial: trial.id, coords: line(trial, part.values(trial)) })).filter((one) => one.coords.length > 1),
          },
          ...shown.flatMap((one) => one.trials.map((id, seed) => ({ one, id, seed }))).filter(({ id }) => byId.has(id)).map(({ one, id, seed }) => ({
            type: "line", name: one.label, xAxisIndex: index, yAxisIndex: index, z: 3, triggerLineEvent: true,
            showSymbol: true, symbolSize: 6, symbol: SYMBOLS[one.kind + 1],
            lineStyle: { color: one.color, width: 2, type: DASHES[one.kind + 1], opacity: seed ? 0.45 : 1 }, itemStyle: { color: one.color, opacity: seed ? 0.45 : 1 },
            data: line(byId.get(id), part.values(byId.get(id))).map((value) => ({ value, trial: id })),
          })),
          ...(pointed ? [{ type: "line", xAxisIndex: index, yAxisIndex: index, z: 9, silent: true, showSymbol: false, lineStyle: { color: COLORS.best, width: 4 }, data: line(pointed, part.values(pointed)) }] : []),
        ]);
        return {
          ...base(), series, grid: grids,
          title: panels.map((part, index) => ({ text: part.title, textStyle: { color: color("ink"), fontSize: 13 }, left: narrow || !index ? 8 : "52%", top: below + (narrow ? (index ? 274 : 10) : 22) })),
          legend: { top: 0, textStyle: { color: color("ink"), fontSize: 11 }, data: labels },
          xAxis: grids.map((_, index) => ({ gridIndex: index, type: "value", minInterval: 1, min: 1, max: "dataMax", name: "Epoch", nameLocation: "middle", nameGap: 24, ...axisStyle() })),
          yAxis: grids.map((_, index) => ({ gridIndex: index, type: "value", scale: true, ...axisStyle() })),
        };
      };
      const one = chart(figure, (figure.clientWidth < 700 ? 510 : 380) + legendHeight(labels, figure.clientWidth), draw, { highlight: (_, trial) => { pointed = trial; one.setOption(draw(), { notMerge: true }); } });
      if (others.length < unnamed.length) figure.append(make("p", { class: "note" }, `Thin lines: ${others.length} of ${unnamed.length} other trials, at even steps from the best to the worst.`));
      one.on("click", (item) => { const trial = byId.get(data.lines.find((line) => line.label === item.seriesName)?.trials[0]); if (trial && !item.data) open(trial); });
    },

    history(figure, data) {
      const ended = data.ended.map((id, place) => ({ trial: byId.get(id), order: place + 1, spent: data.spent[place], best: data.best[place] }));
      const kinds = [
        ["baseline", (trial) => trial.role !== "", "rect", () => color("ink")],
        [data.others, (trial) => trial.role === "" && trial.ranked, "circle", () => COLORS.searched],
        ["ended before the full budget", (trial) => trial.role === "" && !trial.ranked, "triangle", () => color("faint")],
      ].filter(([, wanted]) => ended.some((one) => one.trial && wanted(one.trial)));
      let pointed = null;
      const draw = () => {
        const narrow = figure.clientWidth < 700;
        const grids = narrow ? [{ left: 48, right: 10, top: 86, height: 170 }, { left: 48, right: 10, top: 326, height: 160 }]
          : [{ left: 48, width: "42%", top: 50, bottom: 42 }, { right: 12, width: "42%", top: 50, bottom: 42 }];
        const series = ["order", "spent"].flatMap((key, index) => [
          ...kinds.map(([name, wanted, symbol, tint]) => ({
            type: "scatter", name, symbol, symbolSize: 8, xAxisIndex: index, yAxisIndex: index, itemStyle: { color: tint() }, z: 3,
            data: ended.filter((one) => one.trial && wanted(one.trial)).map((one) => ({ value: [one[key], one.trial.value], trial: one.trial.id })),
          })),
          { type: "line", name: "best so far", step: "end", silent: true, showSymbol: false, xAxisIndex: index, yAxisIndex: index, lineStyle: { color: COLORS.best, width: 2 }, itemStyle: { color: COLORS.best }, data: ended.filter((one) => one.best !== null).map((one) => [one[key], one.best]) },
          ...(pointed ? [{ type: "scatter", silent: true, z: 9, symbolSize: 18, xAxisIndex: index, yAxisIndex: index, itemStyle: { color: "transparent", borderColor: COLORS.best, borderWidth: 3 }, data: ended.filter((one) => one.trial === pointed).map((one) => [one[key], one.trial.value]) }] : []),
        ]);
        return {
          ...base(), series, grid: grids, legend: { top: 0, textStyle: { color: color("ink"), fontSize: 11 }, data: [...kinds.map((kind) => kind[0]), "best so far"] },
          xAxis: ["Trials ended", data.unit].map((name, index) => ({ gridIndex: index, type: "value", name, nameLocation: "middle", nameGap: 24, ...(index ? {} : { minInterval: 1 }), ...axisStyle() })),
          yAxis: grids.map((_, index) => ({ gridIndex: index, type: "value", scale: true, name: index ? "" : `Validation ${all.objective}`, nameLocation: "end", nameTextStyle: { align: "left" }, ...axisStyle() })),
        };
      };
      const one = chart(figure, figure.clientWidth < 700 ? 530 : 340, draw, {
        order: ended.map((one) => one.trial).filter(Boolean), highlight: (_, trial) => { pointed = trial; one.setOption(draw(), { notMerge: true }); },
      });
    },

    marginals(figure, data) {
      const select = make("select", {}, ...data.axes.map((axis) => make("option", {}, axis.field)));
      figure.append(make("label", { class: "controls" }, "Hyperparameter ", select));
      const shown = () => {
        const axis = data.axes[select.selectedIndex];
        const place = all.varied.indexOf(axis.field);
        const within = axis.trials ? new Set(axis.trials) : null;
        return { axis, trials: all.trials.filter((trial) => trial.id in data.values && (!within || within.has(trial.id))).map((trial) => ({ trial, x: trial.set[place] })) };
      };
      let pointed = null;
      const draw = () => {
        const { axis, trials } = shown();
        const categories = axis.numeric ? null : [...new Set(trials.map((one) => String(one.x)))].sort();
        const log = axis.log && axis.numeric ? logarithmic(trials.map((one) => one.x)) : null;
        const at = (one, place) => axis.numeric ? log?.at(one.x) ?? one.x : categories.indexOf(String(one.x)) + 0.5 * ((place * 0.618034) % 1 - 0.5);
        const points = trials.map((one, place) => ({ value: [at(one, place), data.values[one.trial.id]], trial: one.trial.id, baseline: one.trial.role !== "" }));
        const category = { type: "value", min: -1, max: categories?.length, interval: 1, axisLabel: { formatter: (value) => categories[value] ?? "" } };
        const scale = log ? { type: "log", ...(log.zero ? { min: log.zero } : {}), axisLabel: { ...axisStyle().axisLabel, formatter: log.label } } : { type: "value", scale: true };
        return {
          ...base(), grid: { left: 60, right: 20, top: figure.clientWidth < 700 ? 54 : 34, bottom: 46 },
          legend: { top: 0, data: [data.others, "baseline", ...(categories ? ["median"] : [])], textStyle: { color: color("ink"), fontSize: 11 } },
          xAxis: { ...axisStyle(), ...(axis.numeric ? scale : { ...category, axisLabel: { ...axisStyle().axisLabel, ...category.axisLabel } }), name: axis.field, nameLocation: "middle", nameGap: 26 },
          yAxis: { type: "value", scale: true, name: `Validation ${all.objective}`, ...axisStyle(), nameTextStyle: { color: color("soft"), align: "left" }, axisLine: { onZero: false } },
          series: [
            { type: "scatter", name: data.others, symbolSize: 8, itemStyle: { color: COLORS.searched, opacity: 0.75 }, data: points.filter((point) => !point.baseline) },
            { type: "scatter", name: "baseline", symbol: "rect", symbolSize: 9, itemStyle: { color: color("ink") }, data: points.filter((point) => point.baseline) },
            ...(categories ? [{ type: "scatter", name: "median", silent: true, symbol: "rect", symbolSize: [60, 3], z: 4, itemStyle: { color: COLORS.best }, data: categories.map((name, index) => [index, median(trials.filter((one) => String(one.x) === name).map((one) => data.values[one.trial.id]))]) }] : []),
            ...(pointed ? [{ type: "scatter", silent: true, z: 9, symbolSize: 18, itemStyle: { color: "transparent", borderColor: COLORS.best, borderWidth: 3 }, data: points.filter((point) => point.trial === pointed.id) }] : []),
          ],
        };
      };
      const one = chart(figure, 340, draw, { order: () => shown().trials.map((entry) => entry.trial), highlight: (_, trial) => { pointed = trial; one.setOption(draw(), { notMerge: true }); } });
      select.addEventListener("change", () => { pointed = null; one.setOption(draw(), { notMerge: true }); });
    },

    parallel(figure, data) {
      const trials = all.trials.filter((trial) => trial.id in data.values);
      const known = data.axes.map((axis) => ({ ...axis, place: all.varied.indexOf(axis.field) })).filter((axis) => axis.place >= 0);
      const fields = known.slice(0, Math.max(3, Math.floor(figure.clientWidth / 85) - 1)); // labels need their room
      const result = { field: `validation ${all.objective}`, numeric: true, log: false, result: true };
      const axes = [...fields, result].map((axis) => ({ ...axis, of: (trial) => axis.result ? data.values[trial.id] : trial.set[axis.place] }));
      for (const axis of axes) {
        const raw = axis.of;
        const log = axis.log && axis.numeric ? logarithmic(trials.map(raw)) : null;
        axis.log = log !== null;
        axis.at = log?.at ?? ((value) => value);
        axis.label = log?.label ?? number;
        axis.of = (trial) => axis.at(raw(trial));
        const values = trials.map(axis.of);
        axis.categories = axis.numeric ? null : [...new Set(values.map(String))].sort();
        [axis.low, axis.high] = axis.numeric ? [Math.min(...values), Math.max(...values)] : [0, axis.categories.length - 1];
      }
      const filters = axes.map(() => null);
      const passes = (trial) => axes.every((axis, place) => {
        const limits = filters[place];
        if (!limits) return true;
        const value = axis.numeric ? axis.of(trial) : axis.categories.indexOf(String(axis.of(trial)));
        return limits.some(([low, high]) => value >= low && value <= high);
      });
      const count = make("p", { class: "note", role: "status" });
      const list = make("ol", { class: "selected" });
      const selected = () => trials.filter(passes).sort((a, b) => (all.better === "lower" ? 1 : -1) * (data.values[a.id] - data.values[b.id]));
      const tell = () => {
        const found = selected();
        count.textContent = `${found.length} of ${trials.length} trials pass the filters${filters.some(Boolean) ? "" : " (none is set)"}.${found.length ? " The best:" : ""}`;
        list.replaceChildren(...found.slice(0, 5).map((trial) => {
          const button = make("button", { type: "button" }, trial.name);
          button.addEventListener("click", () => open(trial));
          return make("li", {}, button, ` ${number(data.values[trial.id])}`);
        }));
      };
      const valuesOf = (trial) => axes.map((axis) => axis.numeric ? axis.of(trial) : String(axis.of(trial)));
      const lines = [...trials].reverse();
      const draw = () => {
        const shades = new Map(selectedOrder().map((id, place, { length }) => [id, place / Math.max(1, length - 1)]));
        return {
          ...base(), parallel: { left: 44, right: 84, top: 54, bottom: 22 },
          parallelAxis: axes.map((axis, dim) => ({
            dim, id: `axis${dim}`, name: axis.field.replace("_", "\n").replace("validation ", "validation\n"), realtime: trials.length < 300, ...axisStyle(), nameLocation: "end", nameGap: 12, nameTextStyle: { color: color("ink"), fontSize: 11, lineHeight: 14 }, axisLabel: { color: color("ink"), fontSize: 10, backgroundColor: color("page"), formatter: (value) => typeof value === "string" && value.length > 16 ? `${value.slice(0, 15)}\u2026` : typeof value === "number" ? axis.label(value) : value },
            ...(axis.numeric ? { type: axis.log ? "log" : "value", min: axis.low, max: axis.low === axis.high ? axis.high + 1 : axis.high } : { type: "category", data: axis.categories }),
            areaSelectStyle: { width: 18, borderColor: COLORS.best, color: COLORS.best, opacity: 0.25 },
          })),
          visualMap: undefined,
          series: [{
            type: "parallel", id: "trials", progressive: 0, smooth: false, inactiveOpacity: 0.04, activeOpacity: 0.85,
            emphasis: { lineStyle: { width: 4, opacity: 1, color: COLORS.best } },
            data: lines.map((trial) => ({
              name: trial.id, value: valuesOf(trial),
              lineStyle: { color: shade(shades.get(trial.id)), width: 1.3, opacity: 0.75 },
            })),
          }],
        };
      };
      const selectedOrder = () => [...trials].sort((a, b) => (all.better === "lower" ? 1 : -1) * (data.values[a.id] - data.values[b.id])).map((trial) => trial.id);
      const one = chart(figure, 400, draw, { order: selected, highlight: (_, trial) => {
        one.dispatchAction({ type: "downplay", seriesIndex: 0 });
        one.dispatchAction({ type: "highlight", seriesIndex: 0, dataIndex: lines.indexOf(trial) });
      } });
      // Areas that are dragged on the axes, and the fields below, are the same filters.
      const clear = () => axes.forEach((axis, place) => one.dispatchAction({ type: "axisAreaSelect", parallelAxisId: `axis${place}`, intervals: [] }));
      const inputs = axes.map((axis, place) => {
        const set = (limits) => { filters[place] = limits; one.dispatchAction({ type: "axisAreaSelect", parallelAxisId: `axis${place}`, intervals: limits ?? [] }); tell(); };
        if (!axis.numeric) {
          const select = make("select", {}, make("option", { value: "" }, "all"), ...axis.categories.map((name, index) => make("option", { value: String(index) }, name)));
          select.addEventListener("change", () => set(select.value === "" ? null : [[Number(select.value) - 0.4, Number(select.value) + 0.4]]));
          return { element: make("label", {}, `${axis.field} `, select), clear: () => { select.value = ""; } };
        }
        const ends = ["from", "to"].map((word, end) => make("input", { type: "number", step: "any", placeholder: axis.label([axis.low, axis.high][end]), "aria-label": `${axis.field} ${word}` }));
        const update = () => {
          const [low, high] = ends.map((end, index) => end.value === "" ? [axis.low, axis.high][index] : axis.at(Number(end.value)));
          set(ends.every((end) => end.value === "") ? null : [[low, high]]);
        };
        ends.forEach((end) => end.addEventListener("change", update));
        return { element: make("span", { class: "range" }, `${axis.field} `, ends[0], " to ", ends[1]), clear: () => ends.forEach((end) => { end.value = ""; }) };
      });
      const reset = make("button", { type: "button" }, "Clear all filters");
      reset.addEventListener("click", () => { inputs.forEach((input) => input.clear()); clear(); filters.fill(null); tell(); });
      one.on("axisareaselected", () => {
        one.getOption().parallelAxis.forEach((axis, place) => {
          const drawn = one.getModel().getComponent("parallelAxis", place)?.activeIntervals ?? [];
          filters[place] = drawn.length ? drawn.map((limits) => [...limits]) : null;
        });
        tell();
      });
      figure.append(make("details", { class: "folded" }, make("summary", {}, "Filter with the keyboard"), make("div", { class: "controls filters" }, ...inputs.map((input) => input.element), reset)), count, list);
      if (fields.length < known.length) figure.append(make("p", { class: "note" }, `Drawn: the ${fields.length} strongest of ${known.length} hyperparameters; a wider window has room for more.`));
      tell();
    },
  };
  // Dark and wide for the best, light for the worst: cividis, which colour-blind readers see alike.
  const CIVIDIS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
  const shade = (part) => {
    const place = Math.min(0.999, dark.matches ? 1 - part * 0.85 : part * 0.85) * (CIVIDIS.length - 1);
    const [low, high] = [CIVIDIS[Math.floor(place)], CIVIDIS[Math.ceil(place)]];
    return `rgb(${low.map((one, index) => Math.round(one + (high[index] - one) * (place % 1))).join(",")})`;
  };
  // A chart is drawn when it is about to be seen, so that the page is there at once.
  const waiting = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
    waiting.unobserve(target);
    plots[target.dataset.plot](target, read(target.querySelector("script")));
  }), { rootMargin: "600px" });
  document.querySelectorAll("figure[data-plot]").forEach((figure) => { if (figure.dataset.plot in plots) waiting.observe(figure); });
  let resizing = null;
  window.addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => charts.forEach(({ one, redraw }) => { one.resize(); redraw(); }), 150);
  });
  dark.addEventListener("change", () => charts.forEach(({ redraw }) => redraw()));

  // The names of trials in the ranking open them too.
  const byName = new Map();
  for (const trial of all.trials) for (const name of [trial.name, trial.name.replace(/ seed \d+( fold \d+)?$/, "")]) if (!byName.has(name)) byName.set(name, trial);
  document.querySelectorAll("#ranking table").forEach((table) => {
    const column = Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.textContent.trim() === "name");
    for (const row of table.tBodies[0].rows) {
      const cell = row.cells[column];
      const trial = cell && byName.get(cell.textContent);
      if (!trial) continue;
      const button = make("button", { type: "button", class: "open" }, cell.textContent);
      button.addEventListener("click", () => open(trial));
      cell.replaceChildren(button);
    }
  });
}

// A run that goes on writes this page anew: look again, unless somebody is in the middle of something.
const live = Number(document.documentElement.dataset.live);
if (live) setInterval(() => {
  const panel = document.getElementById("trial");
  if (!panel || panel.hidden) location.reload();
}, 1000 * live);
