"use strict";
// What tells the ticked runs apart, how they were evaluated, and what happened to them.

const heads = ids => ids.map(id => element("th", {}, swatch(id), known.rows.get(id).name));

const recipesTab = {
  name: "Recipes",
  needsComparison: true,
  build(panel) { this.panel = panel; },
  draw() {
    const ids = tickedIds();
    const differing = known.compared.differences.filter(({values}) => new Set(ids.map(id => values[id] ?? "")).size > 1);
    const rows = some => some.map(({key, values}) => element("tr", {}, element("td", {class: "key"}, key),
      ...ids.map(id => element("td", {}, values[id] ?? ""))));
    const head = [element("th", {class: "key"}, "Key"), ...heads(ids)];
    const [matter, others] = [differing.filter(each => each.matters), differing.filter(each => !each.matters)];
    const folded = others.length ? element("details", {open: !matter.length}, element("summary", {},
      `${others.length} more: keys of parts that only some of the runs have, of reports, storage or the machine`),
      table(head.map(cell => cell.cloneNode(true)), rows(others))) : null;
    const none = ids.length < 2 ? "Tick two runs or more to see where their recipes differ."
      : matter.length ? "" : "No key that bears on the result differs.";
    show(this.panel, none ? element("p", {class: "faint"}, none) : table(head, rows(matter)), folded);
  },
};

const evaluationsTab = {
  name: "Evaluations",
  needsComparison: true,
  build(panel) {
    this.charts = new Map();
    this.place = element("div", {class: "charts"});
    this.words = element("div");
    panel.replaceChildren(this.words, this.place);
  },
  draw() {
    const {evaluations, note, refused} = known.compared;
    const ids = tickedIds().filter(id => evaluations[id]);
    const newest = new Map(ids.map(id => [id, evaluations[id].at(-1)]));
    const metrics = [...new Set(ids.flatMap(id => evaluations[id].flatMap(each => Object.keys(each.figures))))];
    const cell = (each, key) => !(key in each.figures) ? "" : figure(each.figures[key]) + (key in each.errors ? ` ± ${error(each.errors[key])}` : "");
    const row = (name, text) => element("tr", {}, element("td", {class: "key"}, name), ...ids.map(id => element("td", {class: "number"}, text(newest.get(id)))));
    const lines = tickedIds().filter(id => refused[id]).map(id => element("p", {class: "warn"}, `Not side by side: ${refused[id]}`));
    show(this.words, ...(ids.length ? [table([element("th", {class: "key"}, "Newest"), ...heads(ids)],
        [row("images", each => count(each.images)), row("drawn with", each => each.drawn || "the main average"), ...metrics.map(key => row(key, each => cell(each, key)))]),
      element("p", {class: "faint"}, `${note}. ± is the standard error over resampled sets if the evaluation has it (--bootstrap), else the deviation between KID's subsets or IS's splits.`)]
      : [element("p", {class: "faint"}, "None of the ticked runs has an evaluation that could be compared.")]), ...lines);
    for (const key of metrics) if (!this.charts.has(key)) this.charts.set(key, chart(key));
    const boxes = metrics.map(key => this.charts.get(key).box);
    if (boxes.length !== this.place.children.length || boxes.some((box, index) => box !== this.place.children[index])) this.place.replaceChildren(...boxes);
    for (const key of metrics) updateChart(this.charts.get(key).plot, () => ({traces: ids.flatMap(id => evaluationTraces(id, evaluations[id], key))}));
  },
};

function evaluationTraces(id, evaluations, key) {
  const found = evaluations.filter(each => key in each.figures && typeof each.images === "number");
  return [...new Set(found.map(each => each.drawn))].map(drawn => {
    const own = found.filter(each => each.drawn === drawn).sort((a, b) => a.images - b.images);
    return trace(id, own.map(each => each.images), own.map(each => each.figures[key]), {suffix: drawn && `, ${drawn}`, trace: {
      mode: "lines+markers", error_y: {type: "data", array: own.map(each => each.errors[key] ?? 0), thickness: 1.2, color: colour(id)}}});
  });
}

const healthTab = {
  name: "Health",
  build(panel) { this.panel = panel; },
  draw() {
    const found = tickedIds().flatMap(id => (known.details.get(id)?.events || []).map(event => ({id, ...event})));
    found.sort((a, b) => b.bad - a.bad || (b.time || 0) - (a.time || 0) || (b.images || 0) - (a.images || 0));
    const rows = found.slice(0, 1000).map(event => element("tr", {},
      element("td", {}, swatch(event.id), known.rows.get(event.id).name), element("td", {class: "number"}, count(event.images)),
      element("td", {class: "wide"}, event.time ? new Date(event.time * 1000).toLocaleString() : ""),
      element("td", {class: ["", "warn", "bad"][event.bad]}, event.what)));
    const head = ["Run", "Images", "Time", "Event"].map((name, index) => element("th", {class: ["", "number", "wide", ""][index]}, name));
    show(this.panel, rows.length ? table(head, rows) : element("p", {class: "faint"},
      "Nothing to report of the ticked runs: no update skipped, no rollback, no job."));
  },
};
