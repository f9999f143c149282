"use strict";

// What the pages are made of: elements, texts, links, thumbnails.

const SECTION = 128; // thumbnails that the browser lays out, or leaves out, together

const routes = {
  home: () => "#/",
  layer: (layer) => `#/${encodeURIComponent(layer.name)}`,
  map: (layer, map) => `#/${encodeURIComponent(layer.name)}/${map}`,
  class: (name) => `#?class=${encodeURIComponent(name)}`,
  classes: () => "#?classes",
};

// --- making elements ------------------------------------------------------------------------

/** An element with attributes and children; texts are texts, never markup. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(made.style, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const count = (number) => number.toLocaleString("en");
const plural = (number, noun, nouns = `${noun}s`) => `${count(number)} ${number === 1 ? noun : nouns}`;
const percent = (share) => share < 0.001 ? "< 0.1 %" : `${Number((100 * share).toPrecision(share < 0.1 ? 2 : 3))} %`;

function short(value) {
  return value === null ? "–" : value >= 1000 ? count(Math.round(value)) : value.toPrecision(4);
}

/** Short texts in a row; empty ones are left out. */
function facts(...texts) {
  return el("p", { class: "facts" }, texts.filter(Boolean).map((text) => el("span", {}, text)));
}

function fieldFact(layer) {
  const size = layer.receptive_field;
  return size ? `sees ${size[1]} × ${size[0]} px` : "";
}

// --- thumbnails -----------------------------------------------------------------------------

/** Where map `map` is in the layer's overview pictures, as a CSS background. */
function background(layer, map, kind) {
  const { columns, rows, cell, gutter } = layer.overview;
  const each = columns * rows;
  const page = Math.floor(map / each);
  const rowsHere = Math.ceil(Math.min(each, layer.maps - page * each) / columns);
  const [row, column] = [Math.floor((map % each) / columns), map % columns];
  const size = (cells) => `${100 * (cells * (cell + gutter) - gutter) / cell}%`;
  const at = (place, cells) => `${cells > 1 ? 100 * place / (cells - 1) : 0}%`;
  return {
    backgroundImage: `url("${encodeURI(layer.overview[kind][page])}")`,
    backgroundSize: `${size(columns)} ${size(rowsHere)}`,
    backgroundPosition: `${at(column, columns)} ${at(row, rowsHere)}`,
  };
}

function picture(layer, map, kind) {
  const lack = Atlas.lack(layer, map);
  if (lack) return el("span", { class: `picture ${lack}` });
  return el("span", { class: "picture", style: background(layer, map, kind) });
}

/** `of`: says first which layer the map belongs to, where that differs; `note`: a number. */
function thumbnail(layer, map, kind, { of = false, note = "" } = {}) {
  const lack = Atlas.lack(layer, map);
  const shown = picture(layer, map, kind);
  const link = el("a", {
    class: "thumbnail", href: routes.map(layer, map),
    "aria-label": `${layer.name}, map ${map}${lack === "dead" ? ", dead" : ""}`,
    title: Atlas.classCounts(layer, map).slice(0, 3).map(([number, times]) => `${times}× ${Atlas.classes[number]}`).join(", "),
  }, shown, el("span", { class: "caption" }, of ? el("span", { class: "of" }, layer.name) : null,
    el("span", {}, of ? `map ${map}` : String(map)), note ? el("em", {}, note) : null));
  if (!lack) {
    const other = kind === "projections" ? "patches" : "projections";
    const show = (which) => () => Object.assign(shown.style, background(layer, map, which));
    for (const on of ["mouseenter", "focus"]) link.addEventListener(on, show(other));
    for (const on of ["mouseleave", "blur"]) link.addEventListener(on, show(kind));
  }
  return link;
}

/** Not a stop of the tab key: the card's heading leads to all of them. */
function shortcut(link) {
  link.tabIndex = -1;
  return link;
}

/** Thumbnails by the hundred: those far from the window cost nothing. */
function grid(items, make) {
  const sections = [];
  for (let from = 0; from < items.length; from += SECTION) {
    sections.push(el("div", { class: "thumbnails" }, items.slice(from, from + SECTION).map(make)));
  }
  return el("div", { class: "grid" }, sections);
}
