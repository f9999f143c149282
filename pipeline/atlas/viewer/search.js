
// What a query may mean: maps, layers, classes, or the dead. No page elements here.

/** @param {string} text */
const plain = (text) => text.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");

/**
 * @typedef {{kind: "layer", layer: Layer} | {kind: "map", layer: Layer, map: number}
 *   | {kind: "kind", name: string, classes: number}
 *   | {kind: "class", name: string, maps: number, layer?: Layer} | {kind: "dead", layer: Layer}} Found
 */

/** Best first. @param {string} query @param {Classes} classes @returns {Found[]} */
function search(query, classes) {
  const text = plain(query).trim();
  if (!text) return [];
  return [...foundMaps(text), ...foundDead(text), ...foundLayers(text), ...foundKinds(text, classes), ...foundClasses(text, classes)];
}

/** "conv5 12", "conv5/12", "conv5:12", or "12" for the map 12 of every layer.
 * @param {string} text @returns {Found[]} */
function foundMaps(text) {
  const match = text.match(/^(?:(.+?)[\s/:#]+)?(?:map\s+)?#?(\d+)$/);
  if (!match) return [];
  const [, of, digits] = match;
  const map = Number(digits);
  return ATLAS.layers
    .filter((layer) => map < layer.maps && (!of || of === "map" || plain(layer.name).startsWith(of)))
    .map((layer) => ({ kind: "map", layer, map }));
}

/** "dead", or "dead conv5". @param {string} text @returns {Found[]} */
function foundDead(text) {
  const words = text.split(/\s+/);
  if (!words.includes("dead")) return [];
  const others = words.filter((word) => word !== "dead");
  return ATLAS.layers
    .filter((layer) => layer.dead && others.every((word) => plain(layer.name).includes(word)))
    .map((layer) => ({ kind: "dead", layer }));
}

/** @param {string} text @returns {Found[]} */
function foundLayers(text) {
  return ATLAS.layers
    .filter((layer) => plain(layer.name).includes(text))
    .slice(0, 8)
    .map((layer) => ({ kind: "layer", layer }));
}

/** "dog" for all dogs. @param {string} text @param {Classes} classes @returns {Found[]} */
function foundKinds(text, { kinds }) {
  return kinds
    .filter(([name]) => plain(name).split(" ").some((_, i, words) => words.slice(i).join(" ").startsWith(text)))
    .sort(([one], [other]) => one.length - other.length)
    .slice(0, 5)
    .map(([name, of]) => ({ kind: "kind", name, classes: of.length }));
}

/** "tabby cat", or "cat conv5" for the class's maps in that layer.
 * @param {string} text @param {Classes} classes @returns {Found[]} */
function foundClasses(text, classes) {
  const words = text.split(/\s+/);
  const found = withWords(words, classes);
  if (found.length || words.length < 2) return found;
  const layer = ATLAS.layers.find((one) => words.some((word) => plain(one.name).startsWith(word)));
  if (!layer) return [];
  const rest = words.filter((word) => !plain(layer.name).startsWith(word));
  return withWords(rest, classes).map((one) => ({ ...one, layer }));
}

/** @param {string[]} words @param {Classes} classes @returns {Found[]} */
function withWords(words, classes) {
  /** @type {number[]} */
  const found = [];
  const names = classes.names.map(plain);
  names.forEach((name, number) => {
    if (words.length && words.every((word) => name.includes(word))) found.push(number);
  });
  const whole = (/** @type {number} */ number) => { // "cat": rather "tabby cat" than "cattle"
    const parts = names[number].split(/[^\p{L}\p{N}]+/u);
    return words.every((word) => parts.includes(word)) ? 0 : 1;
  };
  return found
    .sort((a, b) => whole(a) - whole(b) || classes.maps[b] - classes.maps[a])
    .slice(0, 20)
    .map((number) => ({ kind: "class", name: classes.names[number], maps: classes.maps[number] }));
}
