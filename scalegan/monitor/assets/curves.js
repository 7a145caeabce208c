"use strict";
// Curves over images, a chart for each figure, with the ticked runs laid over each other.

const curveOptions = {log: false, smooth: 0, words: ""};
const curveCharts = new Map();      // by figure
const FEW = 20;         // points that are not smoothed
const FOLDED = ["sigma", "skipped", "overflows", "emas"];

function smoothed(ys, share) {      // as TensorBoard: an average that forgets, without a bias to its start
  let sum = 0, weight = 0;
  return ys.map(y => {
    sum = sum * share + y * (1 - share);
    weight = weight * share + 1 - share;
    return sum / weight;
  });
}

function curveTraces(key) {
  const refused = key.startsWith("eval/") && known.compared ? known.compared.refused : {};
  const {smooth} = curveOptions;
  return tickedIds().filter(id => !(id in refused) && known.details.get(id)?.curves[key]).flatMap(id => {
    const [xs, ys] = known.details.get(id).curves[key];
    if (!smooth || xs.length < FEW) return [trace(id, xs, ys)];
    return [trace(id, xs, ys, {trace: {opacity: 0.35, hoverinfo: "skip", hovertemplate: null}}), trace(id, xs, smoothed(ys, smooth))];
  });
}

function curveKeys() {
  const keys = new Set(tickedIds().flatMap(id => Object.keys(known.details.get(id)?.curves || {})));
  keys.delete("seconds");
  return [...keys].filter(key => !isDeviation(key) && curveOptions.words.toLowerCase().split(/\s+/).every(word => key.toLowerCase().includes(word)));
}

function groupOf(key) {
  return key.includes("/") ? key.split("/")[0] : "run";
}

const curvesTab = {
  name: "Curves",
  build(panel) {
    const words = element("input", {type: "search", placeholder: "Filter figures", "aria-label": "Filter figures", value: curveOptions.words});
    words.oninput = () => { curveOptions.words = words.value; this.draw(); };
    const log = element("input", {type: "checkbox", id: "log", checked: curveOptions.log});
    log.onchange = () => { curveOptions.log = log.checked; this.draw(); };
    const smooth = element("input", {type: "range", id: "smooth", min: 0, max: 0.99, step: 0.01, value: curveOptions.smooth});
    smooth.oninput = () => { curveOptions.smooth = Number(smooth.value); this.draw(); };
    this.groups = new Map();
    curveCharts.clear();
    this.place = element("div");
    panel.replaceChildren(element("div", {class: "tools"}, words, element("label", {}, log, " logarithmic"),
                                  element("label", {}, "smooth ", smooth)), this.place);
  },
  draw() {
    const keys = curveKeys();
    const ranked = ["eval", "loss", "run"];
    const rank = key => (ranked.indexOf(groupOf(key)) + 1 || ranked.length + 1) + (FOLDED.includes(groupOf(key)) ? 1 : 0);
    const groups = new Map();
    for (const key of keys.sort((a, b) => rank(a) - rank(b)))
      groups.set(groupOf(key), [...(groups.get(groupOf(key)) || []), key]);
    for (const [name, group] of this.groups) if (!groups.has(name)) { group.remove(); this.groups.delete(name); }
    for (const [name, members] of groups) {
      if (!this.groups.has(name))
        this.groups.set(name, element("details", {open: !FOLDED.includes(name)}, element("summary", {}, name), element("div", {class: "charts"})));
      const group = this.groups.get(name);
      this.place.append(group);
      for (const key of members) if (!curveCharts.has(key)) curveCharts.set(key, chart(key));
      const boxes = members.map(key => curveCharts.get(key).box);
      const before = [...group.lastChild.children];
      if (boxes.length !== before.length || boxes.some((box, index) => box !== before[index])) group.lastChild.replaceChildren(...boxes);
      for (const key of members) updateChart(curveCharts.get(key).plot, () => ({traces: curveTraces(key), log: curveOptions.log}));
    }
  },
};
