
// All layers at a glance.

/** @param {string} title @param {...any} children */
function page(title, ...children) {
  const { net } = ATLAS.root;
  document.title = title === net ? `What does ${net} look for?` : `${title} · ${net} · atlas`;
  return el("div", { class: "page" }, children);
}

function homePage() {
  const { net, images, kinds } = ATLAS.root;
  return page(net,
    el("h1", {}, "What does ", el("em", {}, bdi(net)), " look for?"),
    el("p", { class: "lead" },
      `For each of ${count(ATLAS.total)} feature maps: the ${ATLAS.ranks} pictures that excite it most, out of `
      + `${count(images)}, and what in them excites it, projected back to pixels through the deconvnet.`),
    kinds.length > 1 ? null : el("p", { class: "note" }, "The pictures themselves may not be shown here: there are projections alone."),
    hint(),
    ATLAS.layers.map(card),
    el("p", { class: "foot" }, el("a", { href: routes.about() }, "About this atlas: how it was made, its numbers, how to cite it")));
}

/** Three sentences for who is here for the first time. */
function hint() {
  if (remembered("seen")) return null;
  const made = el("aside", { class: "hint", "aria-label": "What is seen here" },
    el("p", {}, "A feature map is one of the many detectors of a layer: it answers to one pattern, wherever that is in a picture. "
      + "Each tile is a projection: the part of the picture that excited a map most, with only what excited it left, "
      + "grey meaning nothing. Early layers look for edges and colours, later ones for textures and parts of things; "
      + `open any tile to see ${ATLAS.root.pictures ? "the pictures themselves" : "all of a map's winners"}.`),
    el("button", { type: "button", onclick: () => { remember("seen", "yes"); made.remove(); } }, "Got it"));
  return made;
}

/** What this browser remembers; pages opened from a disk may not. @param {string} what */
function remembered(what) {
  try { return localStorage.getItem(`atlas ${what}`); } catch { return null; }
}

/** @param {string} what @param {string} value */
function remember(what, value) {
  try { localStorage.setItem(`atlas ${what}`, value); } catch { /* then it is told again */ }
}

/** @param {Layer} layer */
function card(layer) {
  const { cells } = ATLAS.root.sprite;
  const shown = Math.min(layer.maps, cells);
  const tiles = Array.from({ length: shown }, (_, map) => el("a", {
    class: "picture", href: routes.map(layer, map), tabindex: -1, "aria-hidden": "true",
    title: `${layer.name}, map ${map}`,
  }));
  const made = el("section", { class: "card" },
    el("a", { class: "card-head", href: routes.layer(layer) },
      el("h2", {}, bdi(layer.name)), layerFacts(layer), el("span", { class: "more", "aria-hidden": "true" }, "→")),
    el("div", { class: "strip" }, tiles));
  whenSeen(made, () => tiles.forEach((tile, map) => Object.assign(tile.style, background(layer.strip, map, shown))));
  return made;
}
