"use strict";

// What the manifest says, as the pages ask for it. No page elements here.

const Atlas = (() => {
  const data = window.ATLAS;
  if (!data) return null;

  const layers = data.layers;
  const layerNamed = new Map(layers.map((layer) => [layer.name, layer]));
  const missing = new Map(layers.map((layer) => [layer.name, new Set(layer.missing)]));
  const total = layers.reduce((sum, layer) => sum + layer.maps, 0);

  /** Why a map has no sheet: "dead", "missing" (not projected yet), or "" when it has one. */
  function lack(layer, map) {
    if (!layer.active[map]) return "dead";
    return missing.get(layer.name).has(map) ? "missing" : "";
  }

  /** [class number, how many winners], most first; winners without a class are left out. */
  function classCounts(layer, map) {
    const counts = new Map();
    for (const number of layer.classes[map]) {
      if (number >= 0) counts.set(number, (counts.get(number) || 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1]);
  }

  // For each class the maps with it among their winners, most first, then the deeper layer first:
  // what a class shares with others is all over the early layers.
  let index = null;
  function byClass() {
    if (index) return index;
    index = data.classes.map(() => []);
    layers.forEach((layer, depth) => {
      for (let map = 0; map < layer.maps; map++) {
        for (const [number, count] of classCounts(layer, map)) {
          index[number].push({ layer, map, count, depth });
        }
      }
    });
    for (const maps of index) {
      maps.sort((a, b) => b.count - a.count || b.depth - a.depth || a.map - b.map);
    }
    return index;
  }

  function mapsOfClass(name) {
    const number = data.classes.indexOf(name);
    return number < 0 ? null : byClass()[number];
  }

  const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  const plainClasses = data.classes.map(plain);

  /** What a query may mean, best first: {kind: "layer" | "map" | "class", …}. */
  function search(query) {
    const text = plain(query).trim();
    if (!text) return [];
    return [...foundMaps(text), ...foundLayers(text), ...foundClasses(text)];
  }

  // "conv5 12", "conv5/12", "conv5:12", or "12" for the map 12 of every layer
  function foundMaps(text) {
    const match = text.match(/^(?:(.+?)[\s/:#]+)?(?:map\s+)?#?(\d+)$/);
    if (!match) return [];
    const [, of, digits] = match;
    const map = Number(digits);
    return layers
      .filter((layer) => map < layer.maps && (!of || of === "map" || plain(layer.name).startsWith(of)))
      .slice(0, 8)
      .map((layer) => ({ kind: "map", layer, map }));
  }

  function foundLayers(text) {
    return layers
      .filter((layer) => plain(layer.name).includes(text))
      .slice(0, 6)
      .map((layer) => ({ kind: "layer", layer }));
  }

  function foundClasses(text) {
    const words = text.split(/\s+/);
    const found = [];
    plainClasses.forEach((name, number) => {
      if (words.every((word) => name.includes(word))) found.push(number);
    });
    const whole = (number) => { // "cat": rather "tabby cat" than "cattle"
      const parts = plainClasses[number].split(/[^\p{L}\p{N}]+/u);
      return words.every((word) => parts.includes(word)) ? 0 : 1;
    };
    return found
      .sort((a, b) => whole(a) - whole(b) || byClass()[b].length - byClass()[a].length)
      .slice(0, 10)
      .map((number) => ({ kind: "class", name: data.classes[number], maps: byClass()[number].length }));
  }

  // A script, since a page that was opened from a disk may not fetch a file.
  const loading = new Map();
  function load(layer) {
    if (!loading.has(layer.name)) {
      loading.set(layer.name, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = encodeURI(layer.winners);
        script.onload = () => done(data.winners[layer.name]);
        script.onerror = () => {
          loading.delete(layer.name); // the next look tries again
          failed(new Error(`${layer.winners} could not be loaded`));
        };
        document.head.append(script);
      }));
    }
    return loading.get(layer.name);
  }

  /** The winners of a map in order of rank. */
  async function winners(layer, map) {
    const all = await load(layer);
    const found = [];
    for (let i = all.first[map]; i < all.first[map + 1]; i++) {
      found.push({
        rank: all.rank[i],
        activation: all.activation[i],
        name: data.classes[all.class[i]] || "",
        key: all.keys[all.image[i]],
        source: all.source.slice(4 * i, 4 * i + 4), // top, left, bottom, right
      });
    }
    return found;
  }

  return {
    run: data.run, made: data.made, classes: data.classes, layers, layerNamed, total,
    lack, classCounts, byClass, mapsOfClass, search, winners,
    sheet: (layer, map) => encodeURI(layer.sheet.replace("{map}", map)),
  };
})();
