"use strict";
// Charts by Plotly, each drawn when it comes into view.

const loaded = new Promise(done => document.addEventListener("DOMContentLoaded", done));
const pending = new WeakMap();      // a plot's place to what makes its traces
const inView = new IntersectionObserver(entries => {
  for (const entry of entries) {
    entry.target.inView = entry.isIntersecting;
    if (entry.isIntersecting) drawChart(entry.target);
  }
}, {rootMargin: "200px"});

function chart(title) {
  const plot = element("div", {class: "plot"});
  inView.observe(plot);
  return {plot, box: element("figure", {class: "chart"}, element("figcaption", {}, title), plot)};
}

function updateChart(plot, make) {
  pending.set(plot, make);
  if (plot.inView) drawChart(plot);
}

// One drawing of a plot at a time; what is wanted meanwhile is drawn next.
async function drawChart(plot) {
  await loaded;
  if (plot.busy) return;
  plot.busy = true;
  while (pending.has(plot) && plot.inView && plot.isConnected) {
    const make = pending.get(plot);
    pending.delete(plot);
    await react(plot, make());
  }
  plot.busy = false;
}

function react(plot, {traces, log: wanted}) {
  const log = wanted && traces.every(({y}) => y.every(value => value > 0));      // else much would be left out
  const style = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map(name => style.getPropertyValue(name).trim());
  const axis = {gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true};
  return Plotly.react(plot, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, size: 11, family: "system-ui, sans-serif"},
    margin: {l: 44, r: 8, t: 8, b: 36}, showlegend: false, hovermode: "closest", uirevision: log ? "log" : "linear",
    xaxis: {...axis, title: {text: "images"}, rangemode: "tozero"},
    yaxis: {...axis, type: log ? "log" : "linear", exponentformat: "power"},
  }, {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]});
}

// Plotly takes some HTML in names.
const plain = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function trace(id, xs, ys, more = {}) {
  const name = plain(known.rows.get(id).name + (more.suffix || ""));
  return {type: "scatter", mode: xs.length > 1 ? "lines" : "markers", x: xs, y: ys, name,
          line: {color: colour(id), dash: dash(id), width: 1.6}, marker: {color: colour(id), size: 6},
          hovertemplate: "%{fullData.name}<br>%{y:.5g} at %{x:,}<extra></extra>", ...more.trace};
}
