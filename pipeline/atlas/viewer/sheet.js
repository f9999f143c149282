
// A feature map's winners: projections beside patches, and the whole picture of the one looked at.

const KINDS = /** @type {Record<string, string>} */ ({ projections: "Projections", patches: "Patches" });

/** Whether fields are so small that their pixels are shown as such. @param {Layer} layer */
const showsPixels = (layer) => layer.layout.scale >= ATLAS.root.pixels;

/**
 * The two halves of a map's sheet; each winner in it can be pointed at, tapped, or reached by keys.
 * @param {Layer} layer @param {number} map @param {MapData} data @param {string} [kept] as of a state
 */
function sheet(layer, map, data, kept = "") {
  const { columns, cell, gutter, cells } = layer.layout;
  const [width, height] = sheetSize(layer);
  const part = (/** @type {number} */ length, /** @type {number} */ of) => `${100 * length / of}%`;
  const spot = (/** @type {Winner} */ winner) => {
    const i = winner.rank - 1;
    return el("button", {
      type: "button", class: "spot", "data-rank": winner.rank,
      "aria-label": `Rank ${winner.rank}${winner.name ? `, ${winner.name}` : ""}, activation ${short(winner.activation)}${winner.again ? `, the same picture as rank ${winner.again}` : ""}`,
      style: {
        left: part((i % columns) * (cell + gutter), width), width: part(cell, width),
        top: part(Math.floor(i / columns) * (cell + gutter), height), height: part(cell, height),
      },
    }, winner.again ? el("span", { class: "again", title: `The same picture as rank ${winner.again}` }, `= ${winner.again}`) : null);
  };
  const half = (/** @type {string} */ kind) => el("div", { class: "half", "data-kind": kind },
    el("h2", {}, KINDS[kind]),
    el("div", { class: "block", style: { aspectRatio: `${width} / ${height}` } },
      el("img", {
        src: ATLAS.address(data.files[kind]), width, height, class: showsPixels(layer) ? "pixels" : null,
        alt: `${KINDS[kind]} of ${layer.name}, map ${map}, strongest first`,
        onerror: (/** @type {Event} */ event) => /** @type {HTMLElement} */ (event.target).replaceWith(sorry(`${data.files[kind]} could not be loaded.`)),
      }),
      data.winners.filter((winner) => winner.rank <= cells).map(spot)));
  const made = el("div", { class: "sheet" }, ATLAS.root.kinds.map(half));
  for (const block of made.querySelectorAll(".block")) roving(block, ".spot");
  showKept(made, layer, data, kept);
  return made;
}

/** Of each half, in pixels. @param {Layer} layer @returns {Pair} */
function sheetSize(layer) {
  const { columns, cell, gutter, cells } = layer.layout;
  const extent = (/** @type {number} */ places) => places * (cell + gutter) - gutter;
  return [extent(columns), extent(Math.ceil(cells / columns))];
}

/**
 * Of a sheet, dim the patches where their projections keep nothing, or crop both to what they keep.
 * @param {HTMLElement} shown @param {Layer} layer @param {MapData} data @param {string} kept as of a state
 */
function showKept(shown, layer, data, kept) {
  shown.querySelector(".masks")?.remove();
  if (kept === "dimmed" && data.files.masks) {
    shown.querySelector("[data-kind=patches] .block")?.append(el("img", { class: "masks", src: ATLAS.address(data.files.masks), alt: "" }));
  }
  for (const spot of /** @type {NodeListOf<HTMLElement>} */ (shown.querySelectorAll(".spot"))) {
    const winner = data.winners.find((one) => one.rank === Number(spot.dataset.rank));
    const kind = /** @type {HTMLElement} */ (spot.closest(".half")).dataset.kind || "";
    Object.assign(spot.style, kept === "cropped" && winner?.kept ? cropped(layer, winner, data.files[kind]) : { backgroundImage: "" });
  }
}

/** The part of a sheet that a winner's projection keeps, as a background. @param {Layer} layer @param {Winner} winner @param {string} file */
function cropped(layer, winner, file) {
  const { columns, cell, gutter } = layer.layout;
  const [width, height] = sheetSize(layer);
  const [top, left, side] = winner.kept || [0, 0, cell];
  const [down, right] = [Math.floor((winner.rank - 1) / columns), (winner.rank - 1) % columns];
  const at = (/** @type {number} */ start, /** @type {number} */ of) => `${100 * start / Math.max(1, of - side)}%`;
  return {
    backgroundImage: `url("${ATLAS.address(file)}")`,
    backgroundSize: `${100 * width / side}% ${100 * height / side}%`,
    backgroundPosition: `${at(right * (cell + gutter) + left, width)} ${at(down * (cell + gutter) + top, height)}`,
    imageRendering: showsPixels(layer) ? "pixelated" : "auto",
  };
}

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
