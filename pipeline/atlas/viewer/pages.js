"use strict";

// The pages: home, a layer, a map, a class, all classes. Each function returns an element.

function page(title, ...children) {
  document.title = title === Atlas.run.net ? `${title} · atlas` : `${title} · ${Atlas.run.net} · atlas`;
  return el("div", { class: "page" }, children);
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
    ["Mined with", ["deconv-atlas", "torch"].filter((one) => run.versions[one]).map((one) => `${one} ${run.versions[one]}`).join(", ")],
  ].filter(([, value]) => value);
  return el("section", { class: "about" }, el("h2", {}, "About this atlas"),
    el("dl", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
    el("p", {}, "A projection shows zero as mid-grey and has a contrast of its own; the patch is what "
      + "the map's strongest position sees of the picture. The method is Zeiler and Fergus’ (2013)."));
}

// --- a layer --------------------------------------------------------------------------------

const choice = { kind: "projections", order: "number" };
const ORDERS = {
  number: { text: "map number", compare: () => (a, b) => a - b, note: mostlyOf },
  max: {
    text: "strongest activation",
    compare: ({ max }) => (a, b) => max[b] - max[a] || a - b,
    note: ({ max }, map) => short(max[map]),
  },
  often: {
    text: "most often active",
    compare: ({ active }) => (a, b) => active[b] - active[a] || a - b,
    note: ({ active }, map) => percent(active[map]),
  },
  rarely: {
    text: "least often active",
    compare: ({ active }) => (a, b) => (active[a] || 2) - (active[b] || 2) || a - b, // dead ones last
    note: ({ active }, map) => percent(active[map]),
  },
};

/** The class that more than half of a map's winners have, if there is one. */
function mostlyOf(layer, map) {
  const [most] = Atlas.classCounts(layer, map);
  return most && most[1] >= 2 && 2 * most[1] > layer.classes[map].length ? Atlas.classes[most[0]] : "";
}

function layerPage(layer) {
  const holder = el("div");
  const hint = el("span", { class: "pointing" });
  function fill() {
    const maps = Array.from({ length: layer.maps }, (_, map) => map).sort(ORDERS[choice.order].compare(layer));
    const note = (map) => Atlas.lack(layer, map) ? "" : ORDERS[choice.order].note(layer, map);
    holder.replaceChildren(grid(maps, (map) => thumbnail(layer, map, choice.kind, { note: note(map) })));
    hint.textContent = `Point at a map to see its ${choice.kind === "projections" ? "patch" : "projection"}`;
  }
  fill();
  return page(layer.name, el("h1", {}, layer.name), layerFacts(layer), controls(fill, hint), holder);
}

function controls(changed, hint) {
  const set = (name) => (event) => { choice[name] = event.target.value; changed(); };
  const radio = (kind, text) => el("label", {},
    el("input", { type: "radio", name: "kind", value: kind, checked: choice.kind === kind, onchange: set("kind") }),
    el("span", {}, text));
  const options = Object.entries(ORDERS).map(([name, { text }]) =>
    el("option", { value: name, selected: choice.order === name }, text));
  return el("div", { class: "controls" },
    el("fieldset", { class: "switch" }, el("legend", {}, "Show"),
      radio("projections", "Projections"), radio("patches", "Patches")),
    el("label", { class: "order" }, "in order of ", el("select", { id: "order", onchange: set("order") }, options)),
    hint);
}

// --- a map ----------------------------------------------------------------------------------

function mapPage(layer, map) {
  const lack = Atlas.lack(layer, map);
  const winners = el("div", { class: "winners" });
  const made = page(`${layer.name} · ${map}`,
    el("div", { class: "head" },
      el("h1", {}, el("a", { href: routes.layer(layer) }, layer.name), el("span", { class: "slash" }, "/"), String(map)),
      el("div", { class: "steps" },
        step(layer, map - 1, "←", "Previous map"), step(layer, map + 1, "→", "Next map"))),
    mapFacts(layer, map),
    lack ? el("p", { class: "note" }, LACKS[lack]()) : figure(layer, map),
    classChips(layer, map), winners, foot(layer, map, lack));
  made.style.maxWidth = `${2 * halfWidth(layer) + 24}px`; // the gap in style.css
  if (lack !== "dead") {
    Atlas.winners(layer, map).then(
      (rows) => { winners.replaceChildren(winnersTable(rows)); link(made); },
      (error) => winners.replaceChildren(el("p", { class: "note" }, `${error.message}.`)));
  }
  for (const near of [map + 1, map - 1]) { // most likely the next to be looked at
    if (near >= 0 && near < layer.maps && !Atlas.lack(layer, near)) new Image().src = Atlas.sheet(layer, near);
  }
  return made;
}

const LACKS = {
  dead: () => `A dead map: none of the ${count(Atlas.run.images)} images activates it.`,
  missing: () => "The winners of this map are not projected yet.",
};

function mapFacts(layer, map) {
  const share = layer.active[map];
  if (!share) return facts(fieldFact(layer));
  return facts(`active on ${percent(share)} of the images`, `strongest ${short(layer.max[map])}`,
    `mean ${short(layer.mean[map])}`, fieldFact(layer));
}

function foot(layer, map, lack) {
  const name = `${Atlas.run.net}-${layer.name}-${map}.webp`;
  return el("p", { class: "foot" },
    lack ? null : el("a", { href: Atlas.sheet(layer, map), download: name }, "Save this sheet"),
    el("span", { class: "keys" }, el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " other maps   ",
      el("kbd", {}, "Esc"), " the layer   ", el("kbd", {}, "/"), " search"));
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
  const extent = (count) => count * (cell + gutter) - gutter;
  const [width, height] = [extent(columns), extent(Math.ceil(cells / columns))];
  const part = (length, of) => `${100 * length / of}%`;
  const spot = (i) => el("span", {
    class: "spot", "data-rank": i + 1,
    style: {
      left: part((i % columns) * (cell + gutter), width), width: part(cell, width),
      top: part(Math.floor(i / columns) * (cell + gutter), height), height: part(cell, height),
    },
  });
  const half = (title, from) => el("div", { class: "half" }, el("h2", {}, title),
    el("div", { class: "block", style: { aspectRatio: `${width} / ${height}` } },
      el("img", {
        src: Atlas.sheet(layer, map), alt: `${title} of ${layer.name}, map ${map}, strongest first`,
        style: { width: part(2 * width + spine, width), left: part(-from, width) },
      }),
      Array.from({ length: Math.min(cells, layer.classes[map].length) }, (_, i) => spot(i))));
  return el("figure", { class: "sheet" }, half("Projections", 0), half("Patches", width + spine));
}

function classChips(layer, map) {
  const chip = ([number, times]) => el("a", { class: "chip", href: routes.class(Atlas.classes[number]) },
    Atlas.classes[number], el("b", {}, `${times}×`));
  const counts = Atlas.classCounts(layer, map);
  if (!counts.length) return null;
  return el("p", { class: "chips", role: "group", "aria-label": "Classes among the winners" }, counts.map(chip));
}

function winnersTable(rows) {
  const strongest = Math.max(...rows.map((row) => row.activation));
  const named = rows.some((row) => row.name);
  const place = ([top, left, bottom, right]) => top === null ? "" : `${left}–${right}, ${top}–${bottom}`;
  const gauge = (value) => el("span", { class: "gauge", style: { width: `${Math.max(2, 60 * value / strongest)}px` } });
  const head = (name, kind) => el("th", { scope: "col", class: kind }, name);
  const row = (one) => el("tr", { "data-rank": one.rank },
    el("td", { class: "rank" }, String(one.rank)),
    named ? el("td", {}, one.name ? el("a", { href: routes.class(one.name) }, one.name) : "") : null,
    el("td", { class: "activation" }, gauge(one.activation), short(one.activation)),
    el("td", { class: "key", title: one.key }, one.key),
    el("td", { class: "where", title: "The receptive field in the original picture, in pixels" }, place(one.source)));
  return el("table", {},
    el("thead", {}, el("tr", {}, head("Rank", "rank"), named ? head("Class", null) : null,
      head("Activation", null), head("Image", null), head("Where (x, y)", "where"))),
    el("tbody", {}, rows.map(row)));
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
    grid(shown, (one) => thumbnail(one.layer, one.map, "projections", { of: true, note: `${one.count}×` })));
}

function classesPage() {
  const all = Atlas.classes.map((name, number) => [name, Atlas.byClass()[number].length]);
  all.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  const entry = ([name, maps]) => el("li", {}, el("a", { href: routes.class(name) }, name), el("span", {}, count(maps)));
  return page("Classes", el("h1", {}, "Classes"),
    facts(`${plural(all.length, "class", "classes")} among the winners`, "with the number of maps"),
    el("ul", { class: "classes" }, all.map(entry)));
}

function notFound(text) {
  return page("Not here", el("h1", {}, "Not here"), el("p", { class: "note" }, `${text} `, el("a", { href: routes.home() }, "To all layers")));
}
