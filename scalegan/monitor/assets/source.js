"use strict";
// Where the figures come from: the server that sent this page, or the page itself.

const inlined = JSON.parse(document.getElementById("data").textContent);

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

const source = inlined ? {
  live: false,
  changes: async () => ({version: 1, order: inlined.rows.map(row => row.id), runs: inlined.rows}),
  details: async id => inlined.details[id],
  compared: async () => inlined.compared,
  picture: (id, [images]) => inlined.pictures[id][images],
} : {
  live: true,
  changes: since => ask(`runs.json?since=${since}`),
  details: id => ask(`run/${id}.json`),
  compared: ids => ask(`compared.json?runs=${ids.join(",")}`),
  picture: (id, [images, written]) => `samples/${id}/${images}.png?${written}`,
};

// What is known of the runs, and which of them are ticked.
const known = {
  rows: new Map(), order: [], version: 0,   // rows by id
  clock: 0,                                 // by how many seconds the server's is ahead
  details: new Map(),                       // by id: curves, events, pictures
  compared: null,
  ticked: new Map(),                        // id to the number of its colour
};

const tickedIds = () => known.order.filter(id => known.ticked.has(id));
