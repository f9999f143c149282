"use strict";

// The pages: home, a layer, a map, a class, all classes. The address after # says which.

const main = document.getElementById("main");
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
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
const percent = (share) => share === 0 ? "0 %" : share < 0.001 ? "< 0.1 %" : `${Number((100 * share).toPrecision(share < 0.1 ? 2 : 3))} %`;
const short = (value) => value === null ? "–" : value >= 1000 ? count(Math.round(value)) : value.toPrecision(4);
const facts = (...texts) => el("p", { class: "facts" }, texts.filter(Boolean).map((text) => el("span", {}, text)));

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

// --- home -----------------------------------------------------------------------------------

function homePage() {
  const { run, layers, total } = Atlas;
  const ranks = Math.max(...layers.map((layer) => layer.layout.cells));
  return page(run.net,
    el("h1", {}, "What does ", el("em", {}, run.net), " look for?"),
    el("p", { class: "lead" },
      `For each of ${count(total)} feature maps: the ${ranks} pictures that excite it most, out of `
      + `${count(run.images)}, and what in them excites it, projected back to pixels through the deconvnet.`),
    layers.map((layer) => el("section", { class: "card" },
      el("a", { class: "card-head", href: routes.layer(layer) },
        el("h2", {}, layer.name), layerFacts(layer), el("span", { class: "more", "aria-hidden": "true" }, "→")),
      el("div", { class: "strip" },
        Array.from({ length: Math.min(layer.maps, 40) }, (_, map) => shortcut(thumbnail(layer, map, "projections")))))),
    about());
}

function layerFacts(layer) {
  const dead = layer.active.filter((share) => !share).length;
  return facts(plural(layer.maps, "map"), fieldFact(layer),
    layer.stride ? `stride ${layer.stride[1]}` : "", dead ? `${count(dead)} dead` : "");
}

function about() {
  const { run, made } = Atlas;
  const rows = [
    ["Net", run.net], ["Weights", run.weights], ["Pictures", run.data],
    ["Images seen", count(run.images)], ["Skipped", run.skipped ? plural(run.skipped, "unusable file") : ""],
    ["Winners kept", run.top_k ? `${run.top_k} a map` : ""], ...Object.entries(made),
  ].filter(([, value]) => value);
  return el("section", { class: "about" }, el("h2", {}, "About this atlas"),
    el("dl", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
    el("p", {}, "A projection shows zero as mid-grey and has a contrast of its own; the patch is what "
      + "the map's strongest position sees of the picture. The method is Zeiler and Fergus’ (2013)."));
}

// --- a layer --------------------------------------------------------------------------------

const choice = { kind: "projections", order: "number" };
const ORDERS = {
  number: ["map number", (layer) => (a, b) => a - b],
  max: ["strongest activation", (layer) => (a, b) => layer.max[b] - layer.max[a] || a - b],
  often: ["most often active", (layer) => (a, b) => layer.active[b] - layer.active[a] || a - b],
  rarely: ["most selective", (layer) => (a, b) => (layer.active[a] || 2) - (layer.active[b] || 2) || a - b],
};

function layerPage(layer) {
  const holder = el("div");
  const hint = el("span", { class: "pointing" });
  const note = {
    number: () => "", max: (map) => short(layer.max[map]),
    often: (map) => percent(layer.active[map]), rarely: (map) => percent(layer.active[map]),
  };
  function fill() {
    hint.textContent = `Point at a map to see its ${choice.kind === "projections" ? "patch" : "projection"}`;
    const maps = Array.from({ length: layer.maps }, (_, map) => map).sort(ORDERS[choice.order][1](layer));
    holder.replaceChildren(grid(maps, (map) => thumbnail(layer, map, choice.kind, { note: note[choice.order](map) })));
  }
  fill();
  return page(layer.name, el("h1", {}, layer.name), layerFacts(layer), controls(fill, hint), holder);
}

function controls(changed, hint) {
  const radio = (kind, text) => el("label", {},
    el("input", { type: "radio", name: "kind", value: kind, checked: choice.kind === kind,
      onchange: () => { choice.kind = kind; changed(); } }), el("span", {}, text));
  const order = el("select", { id: "order", onchange: (event) => { choice.order = event.target.value; changed(); } },
    Object.entries(ORDERS).map(([name, [text]]) => el("option", { value: name, selected: choice.order === name }, text)));
  return el("div", { class: "controls" },
    el("fieldset", { class: "switch" }, el("legend", {}, "Show"), radio("projections", "Projections"), radio("patches", "Patches")),
    el("label", { class: "order" }, "in order of ", order),
    hint);
}

// --- a map ----------------------------------------------------------------------------------

function mapPage(layer, map) {
  const lack = Atlas.lack(layer, map);
  const winners = el("div", { class: "winners" });
  const made = page(`${layer.name} · ${map}`,
    el("div", { class: "head" },
      el("h1", {}, el("a", { href: routes.layer(layer) }, layer.name), el("span", { class: "slash" }, "/"), String(map)),
      el("div", { class: "steps" }, step(layer, map - 1, "←", "Previous map"), step(layer, map + 1, "→", "Next map"))),
    facts(layer.active[map] ? `active on ${percent(layer.active[map])} of the images` : "", fieldFact(layer),
      layer.active[map] ? `strongest ${short(layer.max[map])}` : "", layer.active[map] ? `mean ${short(layer.mean[map])}` : ""),
    lack ? el("p", { class: "note" }, lack === "dead"
      ? `A dead map: none of the ${count(Atlas.run.images)} images activates it.`
      : "The winners of this map are not projected yet.") : figure(layer, map),
    classChips(layer, map), winners,
    el("p", { class: "hint" }, el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " other maps, ", el("kbd", {}, "Esc"), " the layer, ", el("kbd", {}, "/"), " search"));
  made.style.maxWidth = `${2 * halfWidth(layer) + 24}px`; // the gap in style.css
  if (lack !== "dead") {
    Atlas.winners(layer, map).then(
      (rows) => { winners.replaceChildren(winnersTable(layer, rows)); link(made); },
      (error) => winners.replaceChildren(el("p", { class: "note" }, `${error.message}.`)));
  }
  for (const near of [map + 1, map - 1]) {
    if (near >= 0 && near < layer.maps && !Atlas.lack(layer, near)) new Image().src = Atlas.sheet(layer, near);
  }
  return made;
}

function step(layer, map, sign, label) {
  const there = map >= 0 && map < layer.maps;
  return there ? el("a", { class: "step", href: routes.map(layer, map), "aria-label": label, title: label }, sign)
    : el("span", { class: "step", "aria-hidden": "true" }, sign);
}

/** How wide a half of the sheet is shown at most, in CSS pixels. */
function halfWidth({ layout: { columns, cell, gutter } }) {
  return Math.max(columns * (cell + gutter) - gutter, 480);
}

/** The sheet's two halves: side by side, or one below the other where there is no room. */
function figure(layer, map) {
  const { cells, columns, cell, gutter, spine } = layer.layout;
  const rows = Math.ceil(cells / columns);
  const [width, height] = [columns, rows].map((n) => n * (cell + gutter) - gutter);
  const whole = 2 * width + spine;
  const spots = () => Array.from({ length: Math.min(cells, layer.classes[map].length) }, (_, i) => el("span", {
    class: "spot", "data-rank": i + 1,
    style: {
      left: `${100 * (i % columns) * (cell + gutter) / width}%`, top: `${100 * Math.floor(i / columns) * (cell + gutter) / height}%`,
      width: `${100 * cell / width}%`, height: `${100 * cell / height}%`,
    },
  }));
  const half = (title, shift) => el("div", { class: "half" },
    el("h2", {}, title),
    el("div", { class: "block", style: { aspectRatio: `${width} / ${height}` } },
      el("img", {
        src: Atlas.sheet(layer, map), alt: `${title} of ${layer.name}, map ${map}, strongest first`, draggable: "false",
        style: { width: `${100 * whole / width}%`, left: `${-100 * shift / width}%` },
      }), spots()));
  return el("figure", { class: "sheet" }, half("Projections", 0), half("Patches", width + spine));
}

function classChips(layer, map) {
  const counts = Atlas.classCounts(layer, map);
  return counts.length ? el("p", { class: "chips", role: "group", "aria-label": "Classes among the winners" }, counts.map(([number, times]) =>
    el("a", { class: "chip", href: routes.class(Atlas.classes[number]) }, Atlas.classes[number], el("b", {}, `${times}×`)))) : null;
}

function winnersTable(layer, rows) {
  const strongest = rows.length ? rows[0].activation : 1;
  const named = rows.some((row) => row.name);
  const place = ([top, left, bottom, right]) => top === null ? "" : `${left}–${right}, ${top}–${bottom}`;
  return el("table", {}, el("thead", {}, el("tr", {}, ["", named ? "Class" : null, "Activation", "Image", "Where (x, y)"]
    .filter((name) => name !== null).map((name) => el("th", { scope: "col", class: name.startsWith("Where") ? "where" : null }, name)))),
    el("tbody", {}, rows.map((row) => el("tr", { "data-rank": row.rank },
      el("td", { class: "rank" }, String(row.rank)),
      named ? el("td", {}, row.name ? el("a", { href: routes.class(row.name) }, row.name) : "") : null,
      el("td", { class: "activation" }, el("span", { class: "gauge", style: { "width": `${Math.max(2, 60 * row.activation / strongest)}px` } }), short(row.activation)),
      el("td", { class: "key", title: row.key }, row.key),
      el("td", { class: "where" }, place(row.source))))));
}

/** Pointing at a winner anywhere marks it everywhere: projection, patch and row. */
function link(root) {
  const marked = root.querySelectorAll("[data-rank]");
  const mark = (rank) => marked.forEach((one) => one.classList.toggle("on", one.dataset.rank === rank));
  marked.forEach((one) => {
    one.addEventListener("mouseenter", () => mark(one.dataset.rank));
    one.addEventListener("mouseleave", () => mark(null));
  });
}

// --- classes --------------------------------------------------------------------------------

function classPage(name) {
  const maps = Atlas.mapsOfClass(name);
  if (!maps) return notFound(`No winner is of the class “${name}”.`);
  const shown = maps.slice(0, 2000); // most first: further ones have it once
  return page(name, el("h1", {}, name),
    facts(`among the winners of ${plural(maps.length, "map")}`, "those that have it most come first",
      shown.length < maps.length ? `the first ${count(shown.length)} are shown` : ""),
    grid(shown, ({ layer, map, count: times }) => thumbnail(layer, map, "projections", { of: true, note: `${times}×` })));
}

function classesPage() {
  const all = Atlas.classes.map((name, number) => [name, Atlas.byClass()[number].length]).sort((a, b) => a[0].localeCompare(b[0], "en"));
  return page("Classes", el("h1", {}, "Classes"), facts(`${plural(all.length, "class").replace(/classs$/, "classes")} among the winners`),
    el("ul", { class: "classes" }, all.map(([name, maps]) => el("li", {}, el("a", { href: routes.class(name) }, name), el("span", {}, count(maps))))));
}

function notFound(text) {
  return page("Not here", el("h1", {}, "Not here"), el("p", { class: "note" }, `${text} `, el("a", { href: routes.home() }, "To all layers")));
}

// --- going from page to page ----------------------------------------------------------------

function page(title, ...children) {
  document.title = title === Atlas.run.net ? `${title} · atlas` : `${title} · ${Atlas.run.net} · atlas`;
  return el("div", { class: "page" }, children);
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** The place that an address means: {layer, map, make}. */
function placeOf(hash) {
  if (hash === routes.classes()) return { make: classesPage };
  if (hash.startsWith("#?class=")) return { make: () => classPage(decoded(hash.slice("#?class=".length))) };
  const [name, number] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  if (!name) return { make: homePage };
  const layer = Atlas.layerNamed.get(name);
  if (!layer) return { make: () => notFound(`The atlas has no layer “${name}”.`) };
  if (!number) return { layer, make: () => layerPage(layer) };
  const map = /^\d+$/.test(number) ? Number(number) : NaN;
  if (!(map < layer.maps)) return { layer, make: () => notFound(`${layer.name} has the maps 0 to ${layer.maps - 1}.`) };
  return { layer, map, make: () => mapPage(layer, map) };
}

const scrolls = new Map(); // where each page was left
let here = { hash: null };

function go() {
  const hash = location.hash || routes.home();
  if (hash === "#main") return; // the skip link
  const place = placeOf(hash);
  const stepping = here.map !== undefined && place.map !== undefined && here.layer === place.layer;
  if (here.hash !== null) scrolls.set(here.hash, window.scrollY);
  const stay = stepping ? window.scrollY : place.map === undefined ? scrolls.get(hash) || 0 : 0;
  const first = here.hash === null;
  here = { ...place, hash };
  main.replaceChildren(place.make());
  markLayer(place.layer, hash);
  window.scrollTo(0, stay);
  if (!first) main.focus({ preventScroll: true });
}

function markLayer(layer, hash) {
  for (const entry of document.querySelectorAll("#layers a")) {
    const current = layer ? entry.dataset.layer === layer.name : entry.hash === hash || (entry.hash === "#?classes" && hash.startsWith("#?class"));
    entry.toggleAttribute("aria-current", false);
    if (current) {
      entry.setAttribute("aria-current", "page");
      entry.scrollIntoView({ block: "nearest", inline: "center" });
    }
  }
}

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search").focus();
    return;
  }
  const { layer, map } = placeOf(location.hash); // not `here`: a held key is faster than the pages
  if (map === undefined) return;
  const to = { ArrowLeft: map - 1, ArrowRight: map + 1 }[event.key];
  if (event.key === "Escape") location.hash = routes.layer(layer);
  else if (to >= 0 && to < layer.maps) location.hash = routes.map(layer, to);
}

// --- search ---------------------------------------------------------------------------------

function startSearch() {
  const input = document.getElementById("search");
  const list = document.getElementById("found");
  let at = -1;

  const close = () => { list.hidden = true; at = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const choose = (option) => { location.hash = option.dataset.to; input.value = ""; close(); input.blur(); };
  function select(index) {
    const options = [...list.querySelectorAll("[role=option]")];
    at = (index + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", i === at));
    input.setAttribute("aria-activedescendant", options[at].id);
    options[at].scrollIntoView({ block: "nearest" });
  }
  function fill() {
    const found = Atlas.search(input.value);
    list.replaceChildren(...(found.length ? found.map((one, i) => foundOption(one, i, choose))
      : [el("li", { class: "nothing" }, "Nothing found.")]));
    list.hidden = !input.value.trim();
    input.setAttribute("aria-expanded", String(!list.hidden));
    if (found.length && !list.hidden) select(0);
  }
  input.addEventListener("input", fill);
  input.addEventListener("focus", () => input.value && fill());
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const options = list.querySelectorAll("[role=option]");
    if (event.key === "Escape") { input.value = ""; close(); input.blur(); }
    if (list.hidden || !options.length) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); select(at + (event.key === "ArrowDown" ? 1 : -1)); }
    if (event.key === "Enter") { event.preventDefault(); choose(options[at]); }
  });
}

function foundOption(one, i, choose) {
  const to = { layer: () => routes.layer(one.layer), map: () => routes.map(one.layer, one.map), class: () => routes.class(one.name) }[one.kind]();
  const option = el("li", { role: "option", id: `found-${i}`, "data-to": to, "aria-selected": "false" },
    one.kind === "map" ? picture(one.layer, one.map, "projections") : null,
    el("span", { class: "what" }, { layer: () => one.layer.name, map: () => `${one.layer.name} · ${one.map}`, class: () => one.name }[one.kind]()),
    el("small", {}, { layer: () => plural(one.layer.maps, "map"), map: () => "map", class: () => `in ${plural(one.maps, "map")}` }[one.kind]()));
  option.addEventListener("mousedown", (event) => { event.preventDefault(); choose(option); });
  return option;
}

// --- start ----------------------------------------------------------------------------------

function start() {
  if (!Atlas) {
    main.replaceChildren(el("p", { class: "note" }, "manifest.js is not here: this atlas is not published to the end."));
    return;
  }
  document.getElementById("brand").textContent = Atlas.run.net;
  document.getElementById("layers").append(
    el("a", { href: routes.home(), class: "all" }, "All layers"),
    ...Atlas.layers.map((layer) => el("a", { href: routes.layer(layer), "data-layer": layer.name }, layer.name, el("span", {}, count(layer.maps)))),
    ...(Atlas.classes.length ? [el("a", { href: routes.classes(), class: "all" }, "Classes", el("span", {}, count(Atlas.classes.length)))] : []));
  history.scrollRestoration = "manual";
  document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  window.addEventListener("hashchange", go);
  window.addEventListener("keydown", onKey);
  startSearch();
  go();
}

start();
