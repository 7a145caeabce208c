"use strict";
// The table of runs: sorted, filtered, ticked.

const order = {column: null, descending: false};
const opened = new Set();
let shownFigure = "";

const health = row => row.rollbacks ? `${count(row.rollbacks)} rolled back` : row.skipped ? `${count(row.skipped)} skipped` : "ok";

const COLUMNS = [
  {name: "Run", value: row => row.name.toLowerCase()},
  {name: "State", value: row => row.state},
  {name: "Images", value: row => row.images, number: true},
  {name: "Images/s", value: row => row.rate, number: true, wide: true},
  {name: "Left", value: row => row.left, number: true, wide: true},
  {name: "Reported", value: row => row.updated, number: true, wide: true},
  {name: "Figure", value: row => row.figures[shownFigure], number: true},
  {name: "Health", value: row => row.rollbacks * 1e9 + row.skipped, wide: true},
  {name: "Samples", wide: true},
];

const classes = column => [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim();

function shownRows() {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = known.order.map(id => known.rows.get(id))
    .filter(row => words.every(word => `${row.name} ${row.state}`.toLowerCase().includes(word)));
  const {column, descending} = order;
  if (!column) return rows;
  const missing = value => value === null || value === undefined;
  return rows.sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
  });
}

function drawHead() {
  const heads = COLUMNS.map(column => {
    const name = column.name === "Figure" ? shownFigure || "Figure" : column.name;
    if (!column.value) return element("th", {class: classes(column)}, name);
    const arrow = order.column === column ? (order.descending ? " ▼" : " ▲") : "";
    const sort = element("button", {onclick: () => {
      order.descending = order.column === column ? !order.descending : false;
      order.column = column;
      drawHead();
      drawRows();
    }}, name + arrow);
    return element("th", {class: classes(column), "aria-sort": arrow ? (order.descending ? "descending" : "ascending") : "none"}, sort);
  });
  at("table").tHead.replaceChildren(element("tr", {}, element("th", {}, ""), ...heads));
}

function drawFigures() {
  const names = [...new Set([...known.rows.values()].flatMap(row => Object.keys(row.figures)))].filter(name => !isDeviation(name)).sort();
  const first = prefix => names.find(name => name.startsWith(prefix));
  if (!names.includes(shownFigure)) shownFigure = first("eval/") || first("loss/") || names[0] || "";
  if (names.join() !== [...at("figure").options].map(option => option.value).join())
    at("figure").replaceChildren(...names.map(name => element("option", {value: name}, name)));
  at("figure").value = shownFigure;
}

function drawRows() {
  const focused = document.activeElement?.dataset.tick;
  at("table").tBodies[0].replaceChildren(...shownRows().flatMap(row => opened.has(row.id) ? [rowOf(row), detailsOf(row)] : [rowOf(row)]));
  if (focused) at("table").querySelector(`[data-tick="${focused}"]`)?.focus();
}

function rowOf(row) {
  const tick = element("input", {type: "checkbox", checked: known.ticked.has(row.id), "aria-label": `Lay ${row.name} over the others`});
  tick.dataset.tick = row.id;
  tick.onchange = () => { setTicked([row.id], tick.checked); };
  const name = element("button", {class: "plain", title: row.path, "aria-expanded": opened.has(row.id), onclick: () => {
    if (!opened.delete(row.id)) opened.add(row.id);
    drawRows();
  }}, row.name);
  const progress = row.total ? element("progress", {max: row.total, value: row.images, title: `of ${count(row.total)}`}) : null;
  const cells = [
    [name], [element("span", {class: row.state.split(" ")[0], title: row.why || ""}, row.state)],
    [count(row.images), progress], [row.rate ? figure(Math.round(row.rate)) : ""], [duration(row.left)], [ago(row.updated)],
    [figure(row.figures[shownFigure])], [element("span", {class: row.rollbacks ? "bad" : row.skipped ? "warn" : "good"}, health(row))],
    [row.picture && source.picture(row.id, row.picture) ? thumbnail(row) : null]];
  return element("tr", {}, element("td", {class: "tick"}, tick, swatch(row.id)),
    ...cells.map((cell, index) => element("td", {class: classes(COLUMNS[index])}, ...cell)));
}

function thumbnail(row) {
  const image = picture(row.id, row.picture, `${row.name}, ${count(row.picture[0])} images`);
  image.className = "thumb";
  return image;
}

function detailsOf(row) {
  const facts = [["folder", row.path], ["of images", count(row.total)], ["checkpoint", count(row.checkpoint)], ["restarts", count(row.restarts)],
    ["job", row.job], ["nodes", row.nodes], ["why", row.why], ["health", health(row)], ["reported", ago(row.updated)],
    ["left", duration(row.left)], ...Object.entries(row.figures).map(([key, value]) => [key, figure(value)])];
  return element("tr", {}, element("td", {colSpan: COLUMNS.length + 1}, element("div", {class: "figures"},
    ...facts.filter(([, value]) => value).map(([key, value]) => element("div", {}, element("span", {class: "faint"}, key), element("span", {}, value))))));
}

function drawSummary() {
  const states = {};
  for (const row of known.rows.values()) states[row.state] = (states[row.state] || 0) + 1;
  at("summary").textContent = known.order.length ? `${count(known.order.length)} run${known.order.length > 1 ? "s" : ""}: `
    + Object.entries(states).sort((a, b) => b[1] - a[1]).map(([state, number]) => `${number} ${state}`).join(", ") : "no runs yet";
}

function drawRuns() {
  drawFigures();
  drawHead();
  drawRows();
  drawSummary();
}
