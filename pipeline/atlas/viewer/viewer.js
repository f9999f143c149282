"use strict";

// Going from page to page: the address after # says which is shown; keys, and the search box.

const main = document.getElementById("main");

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
  const typing = document.activeElement.closest("input, select, textarea"); // since it was left
  if (!first && !typing) main.focus({ preventScroll: true });
}

function markLayer(layer, hash) {
  for (const entry of document.querySelectorAll("#layers a")) {
    const current = layer ? entry.dataset.layer === layer.name
      : entry.hash === hash || (entry.hash === routes.classes() && hash.startsWith("#?class="));
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

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function leave() {
    input.value = "";
    input.blur(); // closes
  }
  function choose(option) {
    location.hash = option.dataset.to;
    leave();
  }
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
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") leave();
    if (list.hidden || !options.length) return;
    if (step) {
      event.preventDefault();
      select(at + step);
    }
    if (event.key === "Enter") choose(options[at]);
  });
}

function foundOption(one, i, choose) {
  const { to, text, note } = {
    layer: () => ({ to: routes.layer(one.layer), text: one.layer.name, note: plural(one.layer.maps, "map") }),
    map: () => ({ to: routes.map(one.layer, one.map), text: `${one.layer.name} / ${one.map}`, note: "map" }),
    class: () => ({ to: routes.class(one.name), text: one.name, note: `in ${plural(one.maps, "map")}` }),
  }[one.kind]();
  const option = el("li", { role: "option", id: `found-${i}`, "data-to": to, "aria-selected": "false" },
    one.kind === "map" ? picture(one.layer, one.map, "projections") : null,
    el("span", { class: "what" }, text), el("small", {}, note));
  option.addEventListener("mousedown", (event) => {
    event.preventDefault(); // the box keeps the focus until the choice is made
    choose(option);
  });
  return option;
}

// --- start ----------------------------------------------------------------------------------

function start() {
  if (!Atlas) {
    main.replaceChildren(el("p", { class: "note" }, "manifest.js is not here: this atlas is not published to the end."));
    return;
  }
  document.getElementById("brand").textContent = Atlas.run.net;
  const entry = (layer) => el("a", { href: routes.layer(layer), "data-layer": layer.name },
    layer.name, el("span", {}, count(layer.maps)));
  document.getElementById("layers").append(
    el("a", { href: routes.home(), class: "all" }, "All layers"), ...Atlas.layers.map(entry));
  if (Atlas.classes.length) {
    document.getElementById("layers").append(
      el("a", { href: routes.classes(), class: "all" }, "Classes", el("span", {}, count(Atlas.classes.length))));
  }
  history.scrollRestoration = "manual";
  document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  window.addEventListener("hashchange", go);
  window.addEventListener("keydown", onKey);
  startSearch();
  go();
}

start();
