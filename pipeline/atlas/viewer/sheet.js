
// A feature map's winners: projections beside patches, and the whole picture of the one looked at.

const KINDS = /** @type {Record<string, string>} */ ({ projections: "Projections", patches: "Patches" });

/** Whether fields are so small that their pixels are shown as such. @param {Layer} layer */
const showsPixels = (layer) => layer.layout.scale >= ATLAS.root.pixels;

/**
 * The two halves of a map's sheet; each winner in it can be pointed at, tapped, or reached by keys.
 * @param {Layer} layer @param {number} map @param {MapData} data @param {boolean} [dim] the patches,
 *   where their projections keep nothing
 */
function sheet(layer, map, data, dim = false) {
  const { columns, cell, gutter, cells } = layer.layout;
  const extent = (/** @type {number} */ places) => places * (cell + gutter) - gutter;
  const [width, height] = [extent(columns), extent(Math.ceil(cells / columns))];
  const part = (/** @type {number} */ length, /** @type {number} */ of) => `${100 * length / of}%`;
  const spot = (/** @type {Winner} */ winner) => {
    const i = winner.rank - 1;
    return el("button", {
      type: "button", class: "spot", "data-rank": winner.rank,
      "aria-label": `Rank ${winner.rank}${winner.name ? `, ${winner.name}` : ""}, activation ${short(winner.activation)}`,
      style: {
        left: part((i % columns) * (cell + gutter), width), width: part(cell, width),
        top: part(Math.floor(i / columns) * (cell + gutter), height), height: part(cell, height),
      },
    });
  };
  const half = (/** @type {string} */ kind) => el("div", { class: "half", "data-kind": kind },
    el("h2", {}, KINDS[kind]),
    el("div", { class: "block", style: { aspectRatio: `${width} / ${height}` } },
      el("img", {
        src: ATLAS.address(data.files[kind]), width, height, class: showsPixels(layer) ? "pixels" : null,
        alt: `${KINDS[kind]} of ${layer.name}, map ${map}, strongest first`,
        onerror: (/** @type {Event} */ event) => /** @type {HTMLElement} */ (event.target).replaceWith(sorry(`${data.files[kind]} could not be loaded.`)),
      }),
      kind === "patches" && dim ? masksOf(data) : null,
      data.winners.filter((winner) => winner.rank <= cells).map(spot)));
  const made = el("div", { class: "sheet" }, ATLAS.root.kinds.map(half));
  for (const block of made.querySelectorAll(".block")) roving(block, ".spot");
  return made;
}

/** What dims the patches below it. @param {MapData} data */
const masksOf = (data) => el("img", { class: "masks", src: ATLAS.address(data.files.masks), alt: "" });

/**
 * Looking at one of the winners: it is marked everywhere in `root`, and told to `look`.
 * @param {HTMLElement} root @param {(rank: number) => void} look
 */
function linkWinners(root, look) {
  const marked = /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-rank]"));
  const choose = (/** @type {HTMLElement} */ one) => () => {
    for (const other of marked) other.classList.toggle("on", other.dataset.rank === one.dataset.rank);
    look(Number(one.dataset.rank));
  };
  for (const one of marked) {
    for (const on of ["mouseenter", "focus", "click"]) one.addEventListener(on, choose(one));
  }
}

/**
 * The whole picture as the net takes it, with what the strongest position sees.
 * @param {Winner} winner
 */
function wholePicture(winner) {
  const [height, width] = ATLAS.root.input;
  const [top, left, bottom, right] = winner.box;
  const [y, x] = winner.centre;
  const share = (/** @type {number} */ length, /** @type {number} */ of) => `${100 * length / of}%`;
  return el("div", { class: "whole" },
    wholeImage(winner.sample, winner.key),
    el("span", { class: "field", style: {
      left: share(left, width), top: share(top, height),
      width: share(right - left, width), height: share(bottom - top, height),
    } }),
    el("span", { class: "place", style: { left: share(x + 0.5, width), top: share(y + 0.5, height) } }));
}

/** @param {number} sample @param {string} key */
function wholeImage(sample, key) {
  const [height, width] = ATLAS.root.input;
  return el("img", {
    src: ATLAS.whole(sample), width, height, alt: `The whole picture ${key}`,
    onerror: (/** @type {any} */ event) => event.target.parentNode.replaceChildren(sorry("The whole picture could not be loaded.")),
  });
}
