"use strict";

// What the atlas knows. The index has brought what a first view needs; all else is in scripts that
// are loaded when they are asked for: a page that was opened from a disk may not fetch a file.
// No page elements here.

/**
 * @typedef {[number, number]} Pair
 * @typedef {{cells: number, columns: number, cell: number, scale: number, gutter: number}} Layout
 * @typedef {{name: string, index: number, maps: number, dead: number, receptive_field: Pair,
 *   stride: Pair, size: Pair, layout: Layout, script: string, strip: string}} Layer
 * @typedef {{active: number[], max: number[], mean: (number|null)[], std: (number|null)[],
 *   selectivity: (number|null)[], uncertified: number[], missing: number[], outputs: string[], classes: string[], usual: number[],
 *   pages: Record<string, string>[]}} Statistics
 * @typedef {{rank: number, activation: number, name: string, key: string, sample: number,
 *   whole: boolean, box: number[], centre: number[], source: (number|null)[],
 *   kept?: number[], again: number}} Winner
 * @typedef {{rank: number, quantile: number, activation: number, name: string, key: string}} Example
 * @typedef {{name: string, mean: number, share: number}} Preferred
 * @typedef {{winners: Winner[], near: {layer: Layer, map: number, shared: number}[],
 *   ancestor: string, bars: number[], examples: Example[], best: Preferred[], files: Record<string, string>}} MapData
 * @typedef {{names: string[], maps: number[], each: number, parts: string[], kinds: [string, number[]][]}} Classes
 * @typedef {{layer: Layer, map: number, times: number}} Holder
 * @typedef {{sample: number, key: string, name: string, whole: boolean,
 *   figures: {kind: string, file: string, width: number, height: number}[],
 *   wins: {layer: Layer, map: number, rank: number, box: number[]}[]}} Picture
 */

const ATLAS = (() => {
  /** @type {any} */
  const root = /** @type {any} */ (window).ATLAS_ROOT;
  /** @type {Layer[]} */
  const layers = root.layers.map((/** @type {object} */ layer, /** @type {number} */ index) => ({ ...layer, index }));
  const named = new Map(layers.map((layer) => [layer.name, layer]));

  /** @type {Map<string, any>} */
  const values = new Map();
  /** @type {Map<string, Promise<void>>} */
  const loading = new Map();

  /** A script that was loaded says what it has. @param {string} kind @param {string|number} key @param {any} value */
  function add(kind, key, value) {
    values.set(`${kind} ${key}`, value);
  }

  /** The address of a file, from the index on. @param {string} name */
  const address = (name) => encodeURI(name);

  /** Run a script of the atlas, once. @param {string} name */
  function run(name) {
    let promise = loading.get(name);
    if (!promise) {
      promise = new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = address(name);
        script.onload = () => done();
        script.onerror = () => {
          loading.delete(name); // the next look tries again
          script.remove();
          failed(new Error(`${name} could not be loaded. Try again; if it stays so, the atlas is not whole.`));
        };
        document.head.append(script);
      });
      loading.set(name, promise);
    }
    return promise;
  }

  /** @param {string} kind @param {string|number} key @param {string} name @returns {Promise<any>} */
  async function told(kind, key, name) {
    await run(name);
    return values.get(`${kind} ${key}`);
  }

  /** What is known of a layer's maps. @param {Layer} layer @returns {Promise<Statistics>} */
  const statistics = (layer) => told("layers", layer.name, layer.script);

  /** Why a map has no pictures: "dead", "missing" (not projected yet), or "" when it has some.
   * @param {Statistics} of @param {number} map */
  function lack(of, map) {
    if (!of.active[map]) return "dead";
    return of.missing.includes(map) ? "missing" : "";
  }

  /** All that a map's page shows. @param {Layer} layer @param {number} map @returns {Promise<MapData>} */
  async function ofMap(layer, map) {
    const page = Math.floor(map / root.sprite.cells);
    const of = await statistics(layer);
    const all = await told("maps", `${layer.name}/${page}`, of.pages[page].maps);
    const at = map - page * root.sprite.cells;
    const name = (/** @type {number} */ code) => code < 0 ? "" : all.classes[code];
    const winners = [];
    for (let i = all.first[at]; i < all.first[at + 1]; i++) {
      winners.push({
        rank: all.rank[i], activation: all.activation[i], key: all.key[i], sample: all.sample[i],
        whole: Boolean(root.pictures) && !all.without.includes(i),
        name: name(all.class[i]),
        box: all.box.slice(4 * i, 4 * i + 4), centre: all.centre.slice(2 * i, 2 * i + 2),
        source: all.source.slice(4 * i, 4 * i + 4), kept: all.kept[at][all.rank[i] - 1],
        again: all.again[at]?.[all.rank[i] - 1] || 0,
      });
    }
    /** @type {Record<string, string>} */
    const files = {};
    for (const kind of Object.keys(all.files)) if (all.files[kind][at]) files[kind] = all.files[kind][at];
    /** Rows of this map. @template T @param {any} of @param {(i: number) => T} row @returns {T[]} */
    const own = (of, row) => Array.from({ length: of.first[at + 1] - of.first[at] }, (_, i) => row(of.first[at] + i));
    const examples = own(all.examples, (i) => ({
      rank: all.examples.rank[i], quantile: all.examples.quantile[i], activation: all.examples.activation[i],
      name: name(all.examples.class[i]), key: all.examples.key[i],
    }));
    const best = own(all.best, (i) => ({ name: name(all.best.class[i]), mean: all.best.mean[i], share: all.best.share[i] }));
    const near = all.near[at].map((/** @type {number[]} */ [index, other, shared]) => ({ layer: layers[index], map: other, shared }));
    return { winners, near, ancestor: name(all.ancestor[at]), bars: all.bars[at] || [], examples, best, files };
  }

  /** The address of a whole picture, as the net takes it. @param {number} sample */
  const whole = (sample) => address(`${root.pictures}/${sample}.jpg`);

  /** @returns {Promise<Classes>} */
  async function classes() {
    if (!root.files.classes) return { names: [], maps: [], each: 1, parts: [], kinds: [] };
    return told("classes", "", root.files.classes);
  }

  /** The maps with a class among their winners, those with most first; null if no winner has it.
   * @param {string} name @returns {Promise<Holder[] | null>} */
  async function holders(name) {
    const all = await classes();
    const number = all.names.indexOf(name);
    return number < 0 ? null : holdersOf(all, number);
  }

  /** The same of a kind of classes, as "dog", and which these are.
   * @param {string} name @returns {Promise<{classes: string[], maps: Holder[]} | null>} */
  async function kindred(name) {
    const all = await classes();
    const kind = all.kinds.find(([of]) => of === name);
    if (!kind) return null;
    /** @type {Map<string, Holder>} */
    const found = new Map();
    for (const number of kind[1]) {
      for (const { layer, map, times } of await holdersOf(all, number)) {
        const key = `${layer.name}/${map}`;
        found.set(key, { layer, map, times: times + (found.get(key)?.times || 0) });
      }
    }
    const maps = [...found.values()].sort((a, b) => b.times - a.times || b.layer.index - a.layer.index || a.map - b.map);
    return { classes: kind[1].map((number) => all.names[number]), maps };
  }

  /** @param {Classes} all @param {number} number @returns {Promise<Holder[]>} */
  async function holdersOf(all, number) {
    const part = Math.floor(number / all.each);
    const of = await told("class", part, all.parts[part]);
    const found = [];
    for (let i = of.first[number % all.each]; i < of.first[number % all.each + 1]; i++) {
      found.push({ layer: layers[of.layer[i]], map: of.feature_map[i], times: of.times[i] });
    }
    return found;
  }

  /** A picture that has won something, and what; null if it has not.
   * @param {number} sample @returns {Promise<Picture | null>} */
  async function picture(sample) {
    const all = await told("pictures-of", "", root.files.pictures);
    let part = 0;
    while (part + 1 < all.firsts.length && all.firsts[part + 1] <= sample) part++;
    const of = await told("picture", part, all.parts[part]);
    const at = of.sample.indexOf(sample);
    if (at < 0) return null;
    const wins = [];
    for (let i = of.first[at]; i < of.first[at + 1]; i++) {
      wins.push({ layer: layers[of.layer[i]], map: of.feature_map[i], rank: of.rank[i], box: of.box.slice(4 * i, 4 * i + 4) });
    }
    return { sample, key: of.key[at], name: of.class[at], whole: Boolean(of.whole[at]), figures: of.figures[sample] || [], wins };
  }

  return {
    root, layers, named, add, run, address, statistics, lack, ofMap, whole, classes, holders, kindred, picture,
    total: layers.reduce((sum, layer) => sum + layer.maps, 0),
    ranks: Math.max(...layers.map((layer) => layer.layout.cells)),
  };
})();
