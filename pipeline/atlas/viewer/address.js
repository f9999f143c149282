
// The address after #: which page is shown, and how. Every state is in it, and Back works.
//
//   #/                                      all layers
//   #/LAYER?view=wall&order=max&kind=patches&only=dead
//   #/LAYER/MAP?order=max&kept=cropped       in which order the arrows go on
//   #?ask  #?ask=SAMPLE                      a picture of one's own, or one of the dataset's
//   #?class=NAME&in=LAYER  #?kind=NAME  #?classes  #?picture=SAMPLE  #?compare=LAYER/MAP,LAYER,@ADDRESS  #?about

/**
 * How maps are shown: their order, what is shown of them, which of them, as a grid or as a wall, and
 * how much of the patches shines through on the wall (0 to 100), where one stands before it, and how
 * what projections keep is shown: dimmed elsewhere, or cropped to it.
 * @typedef {{order: string, kind: string, only: string, view: string, blend: number, at: string, kept: string}} State
 * @typedef {{path: string[], query: URLSearchParams, state: State}} Address
 */

/** @type {State} */
const USUAL = { order: "number", kind: "projections", only: "all", view: "grid", blend: 0, at: "", kept: "" };

/** @param {string} text */
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** @param {string} hash @returns {Address} */
function parsed(hash) {
  const [path, ...rest] = hash.replace(/^#\/?/, "").split("?");
  const query = new URLSearchParams(rest.join("?"));
  const blend = Number(query.get("blend"));
  return {
    path: path.split("/").map(decoded).filter(Boolean), query,
    state: {
      order: query.get("order") || USUAL.order, kind: query.get("kind") || USUAL.kind,
      only: query.get("only") || USUAL.only, view: query.get("view") || USUAL.view,
      blend: blend >= 0 && blend <= 100 ? blend : 0, at: query.get("at") || USUAL.at, kept: query.get("kept") || USUAL.kept,
    },
  };
}

/** What of a state is not as usual, for an address. @param {Partial<State>} state */
function queryOf(state) {
  const said = Object.entries(state).filter(([name, value]) => value !== USUAL[/** @type {keyof State} */ (name)]);
  return said.length ? `?${said.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}` : "";
}

const routes = {
  home: () => "#/",
  /** @param {Layer} layer @param {Partial<State>} [state] */
  layer: (layer, state = {}) => `#/${encodeURIComponent(layer.name)}${queryOf(state)}`,
  /** @param {Layer} layer @param {number} map @param {Partial<State>} [state] */
  map: (layer, map, state = {}) => `#/${encodeURIComponent(layer.name)}/${map}${queryOf({ order: state.order || USUAL.order, only: state.only || USUAL.only, kept: state.kept || USUAL.kept })}`,
  /** @param {string} name @param {Layer} [layer] */
  class: (name, layer) => `#?class=${encodeURIComponent(name)}${layer ? `&in=${encodeURIComponent(layer.name)}` : ""}`,
  /** @param {string} name */
  kind: (name) => `#?kind=${encodeURIComponent(name)}`,
  classes: () => "#?classes",
  /** @param {number} sample */
  picture: (sample) => `#?picture=${sample}`,
  /** @param {Item[]} items */
  compare: (items) => `#?compare=${items.map((item) => {
    const twice = (/** @type {string} */ text) => encodeURIComponent(encodeURIComponent(text));
    return "address" in item ? `@${twice(item.address)}` : twice(item.layer.name) + (item.map === undefined ? "" : `/${item.map}`);
  }).join(",")}`,
  about: () => "#?about",
  /** @param {number} [sample] */
  ask: (sample) => sample === undefined ? "#?ask" : `#?ask=${sample}`,
};

/** Another state of the page that is shown: no new entry of Back. @param {string} hash */
function restate(hash) {
  history.replaceState(null, "", hash);
}
