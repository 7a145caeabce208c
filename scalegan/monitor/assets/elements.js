"use strict";
// Elements and texts. What is read from files only ever becomes text, never HTML.

const at = id => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}

// What evaluations report beside KID and IS is drawn as their error bars.
const isDeviation = key => key.startsWith("eval/") && key.endsWith("_std");

const count = number => number === null || number === undefined ? "" : number.toLocaleString("en");

function figure(value) {
  if (typeof value !== "number") return "";
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const error = value => typeof value === "number" ? String(Number(value.toPrecision(2))) : "";

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= 2 * size) return `${(seconds / size).toFixed(1)} ${unit}`;
  return `${Math.max(0, Math.round(seconds))} s`;
}

const ago = time => time ? `${duration(Date.now() / 1000 + known.clock - time)} ago` : "";

// Distinguishable with any type of colour vision (Okabe & Ito, 2008), and on dark and light ground.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a8f00", "#8c8c8c"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const colour = id => COLOURS[known.ticked.get(id) % COLOURS.length];
const dash = id => DASHES[Math.floor(known.ticked.get(id) / COLOURS.length) % DASHES.length];

function swatch(id) {
  const made = element("span", {class: "swatch"});
  if (!known.ticked.has(id)) return made;
  const pattern = {solid: "100% 0", dash: "7px 3px", dot: "2px 2px", dashdot: "9px 4px"}[dash(id)].split(" ");
  made.style.background = dash(id) === "solid" ? colour(id)
    : `repeating-linear-gradient(90deg, ${colour(id)} 0 ${pattern[0]}, transparent ${pattern[0]} calc(${pattern[0]} + ${pattern[1]}))`;
  return made;
}

// Shows these in place of what there was, unless they are the same: those may have been scrolled or unfolded.
function show(place, ...children) {
  const made = element("div", {}, ...children);
  if (place.firstChild && made.innerHTML === place.shown) return;
  place.shown = made.innerHTML;
  place.replaceChildren(...made.childNodes);
}

function table(head, rows) {
  return element("div", {class: "scroll"}, element("table", {},
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
}

function picture(id, which, label) {
  const image = element("img", {src: source.picture(id, which), alt: label, loading: "lazy", decoding: "async"});
  image.onerror = () => { image.replaceWith(element("p", {class: "faint"}, "this picture cannot be read")); };
  image.onclick = () => {
    at("large").querySelector("figure").replaceChildren(element("figcaption", {}, label), element("img", {src: image.src, alt: label}));
    at("large").showModal();
  };
  return image;
}
