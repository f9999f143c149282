
// Maps, or layers, side by side; those of another run by the address of its atlas.

/** @typedef {{layer: Layer, map?: number}} OfHere a map, or a layer
 * @typedef {OfHere | {address: string}} Item */

/** The items that an address names: "LAYER/MAP,LAYER,@ADDRESS". @param {string} text @returns {Item[]} */
function compared(text) {
  return text.split(",").flatMap(/** @returns {Item[]} */ (piece) => {
    if (piece.startsWith("@")) return atlasAt(decoded(piece.slice(1)));
    const [of, map] = piece.split("/");
    const layer = ATLAS.named.get(decoded(of));
    if (!layer) return [];
    return [map === undefined || !(Number(map) < layer.maps) ? { layer } : { layer, map: Number(map) }];
  });
}

/** A page of another atlas; nothing if it is no address of a page. @param {string} text @returns {{address: string}[]} */
function atlasAt(text) {
  try {
    const address = new URL(text, location.href);
    return /^(https?|file):$/.test(address.protocol) ? [{ address: address.href }] : [];
  } catch { return []; }
}

/** @param {string} text */
function comparePage(text) {
  const items = compared(text);
  const head = (/** @type {any} */ title, /** @type {number} */ n) => el("div", { class: "head" }, el("h2", {}, title),
    el("a", { class: "step", href: routes.compare(items.filter((_, other) => other !== n)), "aria-label": "Leave out", title: "Leave out" }, "×"));
  return page("Compare", el("h1", {}, "Side by side"), adding(items),
    el("div", { class: "columns" }, items.map((item, n) => el("section", { class: "column" },
      "address" in item ? [head(el("a", { href: item.address }, bdi(item.address)), n), foreign(item.address)]
        : [head(el("a", { href: item.map === undefined ? routes.layer(item.layer) : routes.map(item.layer, item.map) },
          bdi(item.layer.name), item.map === undefined ? "" : ` / ${item.map}`), n), ofHere(item)]))));
}

/** @param {OfHere} item */
function ofHere({ layer, map }) {
  if (map === undefined) return [layerFacts(layer), later(ATLAS.statistics(layer), (of) => grid(ordered(of, USUAL), (one) => thumbnail(layer, of, one)))];
  return later(ATLAS.statistics(layer), (of) => {
    const lack = ATLAS.lack(of, map);
    return [
      facts(`active on ${percent(of.active[map])}`, `strongest ${short(of.max[map])}`),
      lack ? el("p", { class: "note" }, LACKS[lack]()) : later(ATLAS.ofMap(layer, map), (data) => [sheet(layer, map, data), classChips(data)]),
    ];
  });
}

/** Another atlas' page as it is embedded; it may run its scripts, and no more. (On a disk that would
 * keep it from them.) @param {string} of */
function foreign(of) {
  const address = new URL(of);
  address.searchParams.set("embed", "");
  return el("iframe", { src: address.href, title: of, sandbox: address.protocol === "file:" ? null : "allow-scripts", referrerpolicy: "no-referrer" });
}

/** @param {Item[]} items */
function adding(items) {
  const said = el("span", { class: "note", role: "status" });
  const input = el("input", { type: "text", id: "add", placeholder: "conv5 12, conv5, or the address of another atlas’ page", "aria-label": "Layer and map to add, or an address" });
  const add = (/** @type {Item} */ item) => { location.hash = routes.compare([...items, item]); };
  return el("form", { class: "adding", onsubmit: (/** @type {Event} */ event) => {
    event.preventDefault();
    const [other] = /^\w+:\/\//.test(input.value.trim()) ? atlasAt(input.value.trim()) : [];
    const found = other ? undefined : search(input.value, { names: [], maps: [], each: 1, parts: [], kinds: [] })[0];
    if (other) add(other);
    else if (found && found.kind === "map") add({ layer: found.layer, map: found.map });
    else if (found && found.kind === "layer") add({ layer: found.layer });
    else said.textContent = `“${input.value}” names no layer or map.`;
  } }, el("label", { for: "add" }, "Add"), input, el("button", { type: "submit" }, "Add"), said);
}
