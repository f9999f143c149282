
// A layer: all its maps, in an order, as a grid or as a wall.

/** @typedef {{text: string, of: (of: Statistics, map: number) => number | null,
 *   note: (of: Statistics, map: number) => string}} Order */

/** How maps are ordered: by a number, the largest first; those without come last.
 * @type {Record<string, Order>} */
const ORDERS = {
  number: { text: "map number", of: (_, map) => -map, note: usualClass },
  max: { text: "strongest activation", of: ({ max }, map) => max[map], note: ({ max }, map) => short(max[map]) },
  often: { text: "most often active", of: ({ active }, map) => active[map], note: ({ active }, map) => percent(active[map]) },
  rarely: { text: "least often active", of: ({ active }, map) => active[map] ? -active[map] : null, note: ({ active }, map) => percent(active[map]) },
  outlying: {
    text: "how far from the ordinary", of: outlying,
    note: (of, map) => { const far = outlying(of, map); return far === null ? "" : `${far.toFixed(1)} σ`; },
  },
  selective: {
    text: "most selective for a class", of: ({ selectivity }, map) => selectivity[map],
    note: ({ selectivity }, map) => selectivity[map] === null ? "" : /** @type {number} */ (selectivity[map]).toFixed(2),
  },
  class: {
    text: "class of the winners", of: ({ usual }, map) => usual[map] < 0 ? null : -usual[map], note: usualClass,
  },
};

/** @type {Record<string, {text: string, has: (of: Statistics, map: number) => boolean}>} */
const ONLY = {
  all: { text: "all maps", has: () => true },
  live: { text: "without the dead", has: (of, map) => !ATLAS.lack(of, map) },
  dead: { text: "the dead", has: (of, map) => ATLAS.lack(of, map) === "dead" },
  pure: { text: "those of one class", has: ({ usual }, map) => usual[map] >= 0 },
  uncertified: { text: "those not certified", has: ({ uncertified }, map) => uncertified.includes(map) },
};

/** What a map is called: the output that it is, or the class that more than half of its winners
 * have, if there is one. @param {Statistics} of @param {number} map */
function usualClass({ outputs, usual, classes }, map) {
  return outputs[map] || (usual[map] < 0 ? "" : classes[usual[map]]);
}

/** How many standard deviations of all images' maxima the strongest lies above their mean.
 * @param {Statistics} of @param {number} map */
function outlying({ max, mean, std }, map) {
  const [middle, deviation] = [mean[map], std[map]];
  return middle === null || !deviation ? null : (max[map] - middle) / deviation;
}

/** The maps of a layer as a state has them. @param {Statistics} of @param {Partial<State>} state @returns {number[]} */
function ordered(of, state) {
  const order = ORDERS[state.order || ""] || ORDERS.number;
  const { has } = ONLY[state.only || ""] || ONLY.all;
  const keys = of.active.map((_, map) => order.of(of, map));
  return keys.map((_, map) => map).filter((map) => has(of, map)).sort((a, b) => {
    const [one, other] = [keys[a], keys[b]];
    if (one === null || other === null) return Number(one === null) - Number(other === null) || a - b;
    return other - one || a - b;
  });
}

/** @param {Layer} layer @param {State} state */
function layerPage(layer, state) {
  return page(layer.name, el("h1", {}, bdi(layer.name)), layerFacts(layer),
    later(ATLAS.statistics(layer), (of) => layerBody(layer, of, state), "layer-body"));
}

/** @param {Layer} layer @param {Statistics} of @param {State} state */
function layerBody(layer, of, state) {
  const holder = el("div");
  let now = state;
  const change = (/** @type {Partial<State>} */ to) => {
    now = { ...now, ...to, at: "" };
    restate(routes.layer(layer, now));
    fill();
  };
  function fill() {
    const maps = ordered(of, now);
    const note = (/** @type {number} */ map) => ATLAS.lack(of, map) ? "" : (ORDERS[now.order] || ORDERS.number).note(of, map);
    if (!maps.length) holder.replaceChildren(el("p", { class: "note" }, "This layer has no such maps."));
    else if (now.view === "wall") holder.replaceChildren(later(ATLAS.run(ATLAS.root.files.wall), () => wall(layer, of, maps, now, (to) => {
      now = { ...now, ...to };
      restate(routes.layer(layer, now));
    })));
    else holder.replaceChildren(grid(maps, (map) => thumbnail(layer, of, map, { kind: now.kind, state: now, note: note(map) })));
  }
  fill();
  return [controls(of, state, change), holder];
}

/** @param {Statistics} of @param {State} state @param {(to: Partial<State>) => void} change */
function controls(of, state, change) {
  const { kinds } = ATLAS.root;
  const radio = (/** @type {string} */ group, /** @type {string} */ value, /** @type {string} */ text) => el("label", {},
    el("input", {
      type: "radio", name: group, value, checked: state[/** @type {keyof State} */ (group)] === value,
      onchange: () => change({ [group]: value }),
    }), el("span", {}, text));
  const choice = (/** @type {string} */ group, /** @type {Record<string, {text: string}>} */ all) => el("select", {
    id: group, onchange: (/** @type {any} */ event) => change({ [group]: event.target.value }),
  }, Object.entries(all).map(([value, { text }]) =>
    el("option", { value, selected: state[/** @type {keyof State} */ (group)] === value }, text)));
  const offered = Object.fromEntries(Object.entries(ONLY).filter(([only, { has }]) =>
    only === "all" || only === state.only || of.active.some((_, map) => has(of, map))));
  const orders = Object.fromEntries(Object.entries(ORDERS).filter(([order, { of: key }]) =>
    order === state.order || of.active.some((_, map) => key(of, map) !== null)));
  return el("div", { class: "controls" },
    el("fieldset", { class: "switch" }, el("legend", {}, "View"), radio("view", "grid", "Grid"), radio("view", "wall", "Wall")),
    kinds.length > 1 ? el("fieldset", { class: "switch kind" }, el("legend", {}, "Show"),
      radio("kind", "projections", "Projections"), radio("kind", "patches", "Patches")) : null,
    el("label", { class: "order" }, "in order of ", choice("order", orders)),
    Object.keys(offered).length > 1 ? el("label", { class: "order" }, "only ", choice("only", offered)) : null);
}
