
// A feature map: its winners, how they stand among all images, and maps that are like it.

/** @type {Record<string, () => string>} */
const LACKS = {
  dead: () => `A dead map: none of the ${count(ATLAS.root.images)} images activates it.`,
  missing: () => "The winners of this map are not projected yet; deconv-atlas project does that, and publish then shows them.",
};

/** @param {Layer} layer @param {number} map @param {State} state */
function mapPage(layer, map, state) {
  return page(`${layer.name} · ${map}`, later(ATLAS.statistics(layer), (of) => mapBody(layer, map, of, state), "map"));
}

/** @param {Layer} layer @param {number} map @param {Statistics} of @param {State} state */
function mapBody(layer, map, of, state) {
  const lack = ATLAS.lack(of, map);
  const all = ordered(of, state);
  const at = all.indexOf(map);
  const body = lack === "dead" ? null : later(ATLAS.ofMap(layer, map), (data) => {
    if (stepped) prefetch(layer, of, [all[at + 1], all[at - 1]]);
    return mapWinners(layer, map, of, data, state);
  }, "map-body");
  return [
    el("div", { class: "head" },
      el("h1", {}, el("a", { href: routes.layer(layer, { ...state, view: state.view }) }, bdi(layer.name)), el("span", { class: "slash" }, "/"), String(map)),
      el("div", { class: "steps" },
        step(layer, at < 0 ? undefined : all[at - 1], state, "←", "Previous map", "prev"),
        step(layer, at < 0 ? undefined : all[at + 1], state, "→", "Next map", "next"))),
    lack === "dead" ? facts(fieldFact(layer)) : facts(`active on ${percent(of.active[map])} of the images`,
      of.outputs[map] ? el("span", {}, "the output for ", bdi(of.outputs[map])) : "",
      `strongest ${short(of.max[map])}`, fieldFact(layer), of.uncertified.includes(map) ? "not certified: a winner may be missing" : ""),
    lack ? el("p", { class: "note" }, LACKS[lack]()) : null,
    body,
  ];
}

let stepped = false; // whether somebody goes from map to map: then the next one is loaded before

/** @param {Layer} layer @param {number | undefined} map @param {State} state @param {string} sign @param {string} label @param {string} rel */
function step(layer, map, state, sign, label, rel) {
  return map === undefined ? el("span", { class: "step", "aria-hidden": "true" }, sign)
    : el("a", { class: "step", rel, href: routes.map(layer, map, state), "aria-label": label, title: label, onclick: () => { stepped = true; } }, sign);
}

/** What is most likely looked at next. @param {Layer} layer @param {Statistics} of @param {(number | undefined)[]} maps */
function prefetch(layer, of, maps) {
  for (const map of maps) {
    if (map === undefined || ATLAS.lack(of, map)) continue;
    ATLAS.ofMap(layer, map).then(({ files }) => {
      for (const kind of ATLAS.root.kinds) new Image().src = ATLAS.address(files[kind]);
    }, () => undefined);
  }
}

/** @param {Layer} layer @param {number} map @param {Statistics} of @param {MapData} data @param {State} state */
function mapWinners(layer, map, of, data, state) {
  const panel = el("div", { class: "panel", "aria-live": "polite" });
  const winnersSheet = data.files.projections ? sheet(layer, map, data, state.kept) : null;
  const shown = winnersSheet ? el("figure", { class: "figure" }, winnersSheet,
    ATLAS.root.pictures ? panel : null) : null;
  const root = el("div", { class: "winners" }, shown, winnersSheet ? keeping(layer, map, data, state, winnersSheet) : null, classChips(data), distribution(of, map, data),
    examples(layer, map, data), preferred(of, map, data), winnersTable(data.winners), nearMaps(data), actions(layer, map, data));
  const look = (/** @type {number} */ rank) => {
    const winner = data.winners.find((one) => one.rank === rank);
    if (winner?.whole) panel.replaceChildren(...looked(winner));
  };
  panel.replaceChildren(el("p", { class: "note" }, "Point at a winner, or tap it: here is its whole picture then, with what the map sees of it."));
  linkWinners(root, look);
  return root;
}

/** Fields of deep layers are as large as the picture: what of them matters.
 * @param {Layer} layer @param {number} map @param {MapData} data @param {State} state @param {HTMLElement} shown */
function keeping(layer, map, data, state, shown) {
  const radio = (/** @type {string} */ kept, /** @type {string} */ text) => el("label", {}, el("input", {
    type: "radio", name: "kept", value: kept, checked: state.kept === kept,
    onchange: () => {
      showKept(shown, layer, data, kept);
      restate(routes.map(layer, map, { ...state, kept }));
    },
  }), el("span", {}, text));
  return el("div", { class: "controls keeping" }, el("fieldset", { class: "switch" }, el("legend", {}, "What the projections keep"),
    radio("", "Whole fields"), data.files.masks ? radio("dimmed", "Dim the rest") : null, radio("cropped", "Crop to it")));
}

/** @param {Winner} winner */
function looked(winner) {
  return [
    el("h2", {}, "The whole picture"),
    wholePicture(winner),
    el("p", {}, el("b", {}, `Rank ${winner.rank}`), ` · activation ${short(winner.activation)}`, winner.name ? [" · ", bdi(winner.name)] : null),
    el("p", { class: "key" }, bdi(winner.key)),
    el("p", {}, el("a", { href: routes.picture(winner.sample) }, "All that this picture wins →")),
  ];
}

/** @param {MapData} data */
function classChips(data) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { name: of } of data.winners) if (of) counts.set(of, (counts.get(of) || 0) + 1);
  if (!counts.size) return null;
  const chip = (/** @type {[string, number]} */ [of, times]) => el("a", { class: "chip", href: routes.class(of) }, bdi(of), el("b", {}, `${times}×`));
  return el("p", { class: "chips", role: "group", "aria-label": "Classes among the winners" },
    [...counts].sort((a, b) => b[1] - a[1]).map(chip),
    data.ancestor && counts.size > 1 ? el("span", { class: "note" }, "in common: ", el("a", { href: routes.kind(data.ancestor) }, bdi(data.ancestor))) : null);
}

/** @param {Winner[]} rows */
function winnersTable(rows) {
  if (!rows.length) return null;
  const strongest = Math.max(...rows.map((row) => row.activation));
  const named = rows.some((row) => row.name);
  const place = (/** @type {(number|null)[]} */ [top, left, bottom, right]) => top === null ? "" : `${left}–${right}, ${top}–${bottom}`;
  const gauge = (/** @type {number} */ value) => el("span", { class: "gauge", style: { width: `${Math.max(2, 60 * value / strongest)}px` } });
  const head = (/** @type {string} */ text, /** @type {string | null} */ kind) => el("th", { scope: "col", class: kind }, text);
  const row = (/** @type {Winner} */ one) => el("tr", { "data-rank": one.rank },
    el("td", { class: "rank" }, String(one.rank), one.again ? el("small", { title: `The same picture as rank ${one.again}` }, ` = ${one.again}`) : null),
    named ? el("td", { class: "class" }, one.name ? el("a", { href: routes.class(one.name) }, bdi(one.name)) : "") : null,
    el("td", { class: "activation" }, gauge(one.activation), short(one.activation)),
    el("td", { class: "key" }, el("a", { href: routes.picture(one.sample), title: one.key }, bdi(one.key))),
    el("td", { class: "where", title: "The receptive field in the original picture, in pixels" }, place(one.source)));
  return el("table", {},
    el("thead", {}, el("tr", {}, head("Rank", "rank"), named ? head("Class", null) : null,
      head("Activation", null), head("Picture", null), head("Where (x, y)", "where"))),
    el("tbody", {}, rows.map(row)));
}

/** @param {MapData} data */
function nearMaps(data) {
  if (!data.near.length) return null;
  return el("section", { class: "near" }, el("h2", {}, "Maps with the same winners"),
    grid(data.near, ({ layer, map, shared }) => distant(layer, map, `${shared} shared`)));
}

/** @param {Layer} layer @param {number} map @param {MapData} data */
function actions(layer, map, data) {
  const file = `${ATLAS.root.net}-${layer.name}-${map}`;
  return el("p", { class: "actions" },
    copying("Copy link", () => location.href),
    copying("Copy pandas", () => pandas(layer, map)),
    copying("Cite", bibtex),
    el("a", { href: routes.compare([{ layer, map }]) }, "Compare"),
    Object.entries(data.files).filter(([kind]) => kind in KINDS).map(([kind, of]) =>
      el("a", { href: ATLAS.address(of), download: `${file}-${kind}.${of.split(".").pop()}` }, `Save ${kind}`)));
}

/** A button that copies a text. @param {string} label @param {() => string} text */
function copying(label, text) {
  const button = el("button", { type: "button", onclick: () => {
    copy(text()).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Not allowed here"; });
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}

/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el("textarea", { style: { position: "fixed", opacity: "0" } }); // without https
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not allowed");
  return undefined;
}

/** What reads these very rows. @param {Layer} layer @param {number} map */
function pandas(layer, map) {
  const place = new URL(ATLAS.address(ATLAS.root.files.winners), location.href.split("#")[0]).href.replace(/^file:\/\//, "");
  const quoted = JSON.stringify(layer.name);
  return `import pandas as pd\n\nwinners = pd.read_parquet(\n    ${JSON.stringify(place)},\n`
    + `    filters=[("layer", "==", ${quoted}), ("feature_map", "==", ${map})],\n)\n`;
}

function bibtex() {
  const { net, year } = ATLAS.root;
  return `@misc{deconv-atlas-${net.replace(/[^\w-]/g, "-")},\n  title = {What does ${net} look for? An atlas of its feature maps},\n`
    + `  howpublished = {deconv-atlas, ${location.href.split("#")[0]}},\n${year ? `  year = {${year}},\n` : ""}}\n\n`
    + "@inproceedings{zeiler2014visualizing,\n  title = {Visualizing and Understanding Convolutional Networks},\n"
    + "  author = {Zeiler, Matthew D. and Fergus, Rob},\n  booktitle = {Computer Vision -- ECCV 2014},\n"
    + "  pages = {818--833},\n  year = {2014},\n}\n";
}
