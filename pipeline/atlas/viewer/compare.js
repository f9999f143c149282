
// Maps, or layers, side by side.

/** The items that an address names: "LAYER/MAP,LAYER". @param {string} text
 * @returns {{layer: Layer, map?: number}[]} */
function compared(text) {
  return text.split(",").flatMap((piece) => {
    const [of, map] = piece.split("/");
    const layer = ATLAS.named.get(decoded(of));
    if (!layer) return [];
    return [map === undefined || !(Number(map) < layer.maps) ? { layer } : { layer, map: Number(map) }];
  });
}

/** @param {string} text */
function comparePage(text) {
  const items = compared(text);
  const without = (/** @type {number} */ n) => routes.compare(items.filter((_, other) => other !== n));
  const column = (/** @type {{layer: Layer, map?: number}} */ { layer, map }, /** @type {number} */ n) => el("section", { class: "column" },
    el("div", { class: "head" },
      el("h2", {}, el("a", { href: map === undefined ? routes.layer(layer) : routes.map(layer, map) }, bdi(layer.name), map === undefined ? "" : ` / ${map}`)),
      el("a", { class: "step", href: without(n), "aria-label": "Leave out", title: "Leave out" }, "×")),
    map === undefined ? [layerFacts(layer), later(ATLAS.statistics(layer), (of) => grid(ordered(of, USUAL), (one) => thumbnail(layer, of, one)))]
      : later(ATLAS.statistics(layer), (of) => {
        const lack = ATLAS.lack(of, map);
        return [
          facts(`active on ${percent(of.active[map])}`, `strongest ${short(of.max[map])}`),
          lack ? el("p", { class: "note" }, LACKS[lack]()) : later(ATLAS.ofMap(layer, map), (data) => [sheet(layer, map, data), classChips(data)]),
        ];
      }));
  return page("Compare", el("h1", {}, "Side by side"), adding(items),
    el("div", { class: "columns" }, items.map(column)));
}

/** @param {{layer: Layer, map?: number}[]} items */
function adding(items) {
  const said = el("span", { class: "note", role: "status" });
  const input = el("input", { type: "text", id: "add", placeholder: "conv5 12, or conv5", "aria-label": "Layer and map to add" });
  return el("form", { class: "adding", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    const found = search(input.value, { names: [], maps: [], each: 1, parts: [], kinds: [] })[0];
    if (found && found.kind === "map") location.hash = routes.compare([...items, { layer: found.layer, map: found.map }]);
    else if (found && found.kind === "layer") location.hash = routes.compare([...items, { layer: found.layer }]);
    else said.textContent = `“${input.value}” names no layer or map.`;
  } }, el("label", { for: "add" }, "Add"), input, el("button", { type: "submit" }, "Add"), said);
}
