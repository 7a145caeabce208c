"use strict";
// Brings it together: tabs, ticks, and asking for news.

const EVERY_MS = 5000;
const AT_FIRST = 8;     // runs that are ticked
const AT_ONCE = 8;      // questions to the server
const TABS = [curvesTab, samplesTab, recipesTab, evaluationsTab, healthTab];
let tab = TABS.find(each => `#${each.name}` === location.hash) || TABS[0];

function showTab(chosen) {
  tab.leave?.();
  tab = chosen;
  if (location.hash !== `#${tab.name}`) history.replaceState(null, "", `#${tab.name}`);
  at("tabs").replaceChildren(...TABS.map(each => element("button", {role: "tab", "aria-selected": each === tab, onclick: () => showTab(each)}, each.name)));
  at("panel").replaceChildren();
  tab.build(at("panel"));
  drawTab();
}

function drawTab() {
  at("legend").replaceChildren(...tickedIds().map(id => element("span", {}, swatch(id), known.rows.get(id).name)));
  if (!tab.needsComparison || known.compared) tab.draw();
}

function setTicked(ids, on) {
  for (const id of ids) {
    if (!on) known.ticked.delete(id);
    else if (!known.ticked.has(id)) {
      const taken = new Set(known.ticked.values());
      let free = 0;
      while (taken.has(free)) free += 1;
      known.ticked.set(id, free);
    }
  }
  drawRows();
  drawTab();
  refreshTicked([]);
}

// Fetches what the tabs show of the ticked runs; again of those that changed.
async function refreshTicked(changed) {
  for (const id of changed) known.details.get(id) && (known.details.get(id).old = true);
  const ids = tickedIds();
  const wanted = ids.filter(id => !known.details.has(id) || known.details.get(id).old);
  const comparing = ids.length && (changed.some(id => known.ticked.has(id)) || ids.join() !== known.comparedFor) ? compare(ids) : null;
  await Promise.all(Array.from({length: AT_ONCE}, async () => {
    for (let id = wanted.shift(); id; id = wanted.shift()) {
      try {
        known.details.set(id, await source.details(id));
      } catch { continue; }       // it is gone; the next look says so
      drawSoon(wanted.length > AT_FIRST ? 1500 : 50);
    }
  }));
  await comparing;
}

async function compare(ids) {
  known.comparedFor = ids.join();
  try {
    const found = await source.compared(ids);
    if (known.comparedFor === ids.join()) known.compared = found;
  } catch { known.comparedFor = null; }
  drawSoon();
}

let waiting = null;
function drawSoon(after = 50) {
  waiting ??= setTimeout(() => { waiting = null; drawTab(); }, after);
}

async function look() {
  const found = await source.changes(known.version);
  const first = known.version === 0;
  known.version = found.version;
  if (found.now) known.clock = found.now - Date.now() / 1000;
  known.order = found.order;
  for (const row of found.runs) known.rows.set(row.id, row);
  for (const id of known.rows.keys()) if (!found.order.includes(id)) for (const each of [known.rows, known.details, known.ticked]) each.delete(id);
  if (first && !known.ticked.size) tickFirst();
  if (found.runs.length || first) drawRuns();
  if (found.runs.length) {
    drawTab();
    await refreshTicked(found.runs.map(row => row.id));
  }
}

// At first, those that train, then those that reported last; in a file, all.
function tickFirst() {
  const rows = known.order.map(id => known.rows.get(id));
  const busy = row => (row.state === "running" ? 1e12 : 0) + (row.updated || 0);
  const chosen = source.live ? [...rows].sort((a, b) => busy(b) - busy(a)).slice(0, AT_FIRST) : rows;
  for (const row of rows) if (chosen.includes(row)) known.ticked.set(row.id, known.ticked.size);
}

async function keepLooking() {
  try {
    if (!document.hidden) {
      await look();
      at("pulse").textContent = source.live ? `as of ${new Date().toLocaleTimeString()}` : "";
      at("pulse").className = "";
    }
  } catch (problem) {
    at("pulse").textContent = "the monitor does not answer; is it still running?";
    at("pulse").className = "lost";
  }
  if (source.live) setTimeout(keepLooking, EVERY_MS);
}

at("filter").oninput = drawRows;
at("figure").onchange = () => { shownFigure = at("figure").value; drawHead(); drawRows(); };
at("tick-shown").onclick = () => setTicked(shownRows().map(row => row.id), true);
at("tick-none").onclick = () => setTicked([...known.ticked.keys()], false);
at("large").onclick = () => at("large").close();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showTab(tab));
showTab(tab);
keepLooking();
