
// The wall: all maps of a layer side by side, from the whole layer to the single projection. The
// viewer is OpenSeadragon; its tiles are put together here, out of the same sprites and sheets as
// everything else, so that a wall stands in any order without a file of its own. This file is loaded
// with the viewer, when a wall is opened.

/** Pixels of a map's square at the deepest level: about what a sheet of nine has. */
const SQUARE = 512;
const MARGIN = 0.04; // of a square, on each side

/** @type {Map<string, Promise<HTMLImageElement>>} */
const images = new Map();
const IMAGES_KEPT = 400;

/** @param {string} file @returns {Promise<HTMLImageElement>} */
function image(file) {
  let promise = images.get(file);
  images.delete(file); // what was used last is kept longest
  promise ||= new Promise((done, failed) => {
    const made = new Image();
    made.decoding = "async";
    made.onload = () => done(made);
    made.onerror = () => { images.delete(file); failed(new Error(`${file} could not be loaded`)); };
    made.src = ATLAS.address(file);
  });
  images.set(file, promise);
  if (images.size > IMAGES_KEPT) images.delete(images.keys().next().value || "");
  return promise;
}

/**
 * @param {Layer} layer @param {Statistics} of @param {number[]} maps in their order
 * @param {State} state @param {(to: Partial<State>) => void} changed is told what else is to be in the address
 */
function wall(layer, of, maps, state, changed) {
  const both = ATLAS.root.kinds.length > 1;
  const place = el("div", {
    class: "wall", tabindex: 0, role: "application",
    "aria-label": `Wall of ${layer.name}: drag or arrows to move, + and - to zoom, Enter to open the map in the middle. The grid shows the same as a list.`,
  });
  const told = el("p", { class: "told", "aria-live": "polite" }, `${plural(maps.length, "map")}. Scroll or pinch to come nearer, click a map to open it.`);
  const blend = both ? el("label", { class: "blend" }, "Projections",
    el("input", { type: "range", id: "blend", min: 0, max: 100, value: state.blend, "aria-label": "How much of the patches shines through" }), "Patches") : null;
  const made = el("div", {}, el("div", { class: "wall-head" }, told, blend), place);
  requestAnimationFrame(start); // it needs a size

  function start() {
    if (!place.isConnected) return;
    const columns = columnsFor(maps.length, place.clientWidth / place.clientHeight);
    const OpenSeadragon = /** @type {any} */ (window).OpenSeadragon;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const viewer = OpenSeadragon({
      element: place, drawer: "canvas", showNavigationControl: false, visibilityRatio: 0.4,
      maxZoomPixelRatio: 2, minZoomImageRatio: 0.7, imageLoaderLimit: 8, maxImageCacheCount: 600,
      animationTime: still ? 0 : 0.5, blendTime: still ? 0 : 0.15, alwaysBlend: false, opacity: 1,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { dblClickToZoom: true }, placeholderFillStyle: null,
    });
    const kinds = both ? ["projections", "patches"] : ["projections"];
    for (const kind of kinds) {
      viewer.addTiledImage({
        tileSource: tiles(OpenSeadragon, place, layer, of, maps, columns, kind),
        opacity: kind === "patches" ? state.blend / 100 : 1,
        success: kind === "projections" ? () => stand(viewer, OpenSeadragon, state.at) : undefined,
      });
    }
    const set = (/** @type {number} */ value) => {
      if (viewer.world.getItemCount() > 1) viewer.world.getItemAt(1).setOpacity(value / 100);
    };
    blend?.querySelector("input").addEventListener("input", (/** @type {any} */ event) => {
      set(Number(event.target.value));
      changed({ blend: Number(event.target.value) });
    });
    viewer.addHandler("animation-finish", () => changed({ at: standing(viewer) }));
    viewer.addHandler("canvas-click", (/** @type {any} */ event) => {
      const map = mapAt(viewer, columns, maps, event.position);
      if (event.quick && map !== undefined) location.hash = routes.map(layer, map, state);
    });
    place.addEventListener("mousemove", (/** @type {MouseEvent} */ event) => {
      const box = place.getBoundingClientRect();
      const map = mapAt(viewer, columns, maps, new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top));
      if (map !== undefined) told.textContent = captionOf(of, map);
    });
    place.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const middle = new OpenSeadragon.Point(place.clientWidth / 2, place.clientHeight / 2);
      const map = mapAt(viewer, columns, maps, middle);
      if (event.key === "Enter" && map !== undefined) location.hash = routes.map(layer, map, state);
      if (event.key.startsWith("Arrow")) event.stopPropagation();
    });
    whenGone(place, () => viewer.destroy());
    /** @type {any} */ (place).viewer = viewer;
  }
  return made;
}

/** Where one stands before a wall, as an address says it: the middle, and how near; "" before the
 * whole of it. @param {any} viewer */
function standing(viewer) {
  const { x, y } = viewer.viewport.getCenter();
  const home = viewer.viewport.getHomeBounds().getCenter();
  const near = viewer.viewport.getZoom() / viewer.viewport.getHomeZoom();
  if (Math.max(Math.abs(x - home.x), Math.abs(y - home.y), Math.abs(near - 1)) < 0.002) return "";
  return [x.toFixed(4), y.toFixed(4), viewer.viewport.getZoom().toPrecision(4)].join(",");
}

/** To stand there again. @param {any} viewer @param {any} OpenSeadragon @param {string} at */
function stand(viewer, OpenSeadragon, at) {
  const [x, y, zoom] = at.split(",").map(Number);
  if (!(zoom > 0) || Number.isNaN(x) || Number.isNaN(y)) return;
  viewer.viewport.zoomTo(zoom, undefined, true);
  viewer.viewport.panTo(new OpenSeadragon.Point(x, y), true);
}

/** @param {Statistics} of @param {number} map */
function captionOf(of, map) {
  const lack = ATLAS.lack(of, map);
  if (lack) return `map ${map}: ${lack === "dead" ? "dead" : "not projected yet"}`;
  const mostly = of.outputs[map] ? "" : usualClass(of, map);
  return `map ${map}${of.outputs[map] ? `, ${of.outputs[map]}` : ""}: strongest ${short(of.max[map])}, active on ${percent(of.active[map])} of the images${mostly ? `; mostly ${mostly}` : ""}`;
}

/** So many that the whole has about a shape. @param {number} maps @param {number} shape width by height */
function columnsFor(maps, shape) {
  return Math.max(1, Math.min(maps, Math.ceil(Math.sqrt(maps * shape))));
}

/** The map at a point of the viewer, if there is one.
 * @param {any} viewer @param {number} columns @param {number[]} maps @param {any} point */
function mapAt(viewer, columns, maps, point) {
  const { x, y } = viewer.viewport.pointFromPixel(point); // the wall is 1 wide
  const [column, row] = [Math.floor(x * columns), Math.floor(y * columns)];
  return column < 0 || column >= columns || row < 0 ? undefined : maps[row * columns + column];
}

/**
 * A source of tiles for OpenSeadragon, as long as its place is in the page.
 * @param {any} OpenSeadragon @param {Element} place @param {Layer} layer @param {Statistics} of @param {number[]} maps
 * @param {number} columns @param {string} kind
 */
function tiles(OpenSeadragon, place, layer, of, maps, columns, kind) {
  const rows = Math.ceil(maps.length / columns);
  const source = new OpenSeadragon.TileSource({
    width: columns * SQUARE, height: rows * SQUARE, tileSize: SQUARE, tileOverlap: 0,
  });
  source.getTileUrl = (/** @type {number} */ level, /** @type {number} */ x, /** @type {number} */ y) => `${level}/${x}/${y}`;
  source.getTileHashKey = (/** @type {number} */ level, /** @type {number} */ x, /** @type {number} */ y) =>
    `${layer.name} ${kind} ${maps.length} ${maps[0]} ${maps[1]} ${level}/${x}/${y}`;
  source.hasTransparency = () => true;
  source.downloadTileStart = (/** @type {any} */ job) => {
    const { level, x, y } = job.tile;
    const side = SQUARE / 2 ** (source.maxLevel - level); // of a map's square at this level
    drawTile(layer, of, maps, columns, kind, side, x, y).then(
      (context) => { if (place.isConnected) job.finish(context, null, "context2d"); },
      (error) => { if (place.isConnected) job.fail(error.message, null); });
  };
  source.downloadTileAbort = () => undefined;
  return source;
}

/**
 * A tile of the wall; what cannot be loaded stays empty.
 * @param {Layer} layer @param {Statistics} of @param {number[]} maps @param {number} columns
 * @param {string} kind @param {number} side of a map's square, in pixels @param {number} x @param {number} y
 */
async function drawTile(layer, of, maps, columns, kind, side, x, y) {
  const rows = Math.ceil(maps.length / columns);
  const width = Math.ceil(Math.min(SQUARE, columns * side - x * SQUARE));
  const height = Math.ceil(Math.min(SQUARE, rows * side - y * SQUARE));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.max(1, width), Math.max(1, height)];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const drawing = [];
  const first = (/** @type {number} */ at) => Math.floor(at * SQUARE / side);
  const last = (/** @type {number} */ at, /** @type {number} */ most) => Math.min(most, Math.ceil((at + 1) * SQUARE / side));
  for (let row = first(y); row < last(y, rows); row++) {
    for (let column = first(x); column < last(x, columns); column++) {
      const map = maps[row * columns + column];
      if (map === undefined) continue;
      const [left, top] = [column * side - x * SQUARE, row * side - y * SQUARE];
      drawing.push(drawMap(context, layer, of, map, kind, left, top, side).catch(() => undefined));
    }
  }
  await Promise.all(drawing);
  return context;
}

/** @param {CanvasRenderingContext2D} context @param {Layer} layer @param {Statistics} of @param {number} map
 * @param {string} kind @param {number} left @param {number} top @param {number} side */
async function drawMap(context, layer, of, map, kind, left, top, side) {
  const margin = side * MARGIN;
  const [x, y, size] = [left + margin, top + margin, side - 2 * margin];
  const lack = ATLAS.lack(of, map);
  if (lack) {
    context.fillStyle = "rgb(128 128 128 / 18%)";
    context.fillRect(x, y, size, size);
  } else if (side > ATLAS.root.sprite.large) {
    const { files } = await ATLAS.ofMap(layer, map);
    context.imageSmoothingEnabled = !showsPixels(layer);
    const sheet = await image(files[kind]);
    const scale = size / Math.max(sheet.width, sheet.height);
    context.drawImage(sheet, x, y, sheet.width * scale, sheet.height * scale);
  } else {
    const { columns, cells } = ATLAS.root.sprite;
    const fine = side > ATLAS.root.sprite.small ? "large" : "small";
    const cell = ATLAS.root.sprite[fine];
    const sprite = await image(of.pages[Math.floor(map / cells)][`${kind}-${fine}`]);
    const at = map % cells;
    context.drawImage(sprite, (at % columns) * cell, Math.floor(at / columns) * cell, cell, cell, x, y, size, size);
  }
  if (side >= 256) {
    context.fillStyle = "rgb(140 140 140)";
    context.font = `${Math.round(margin * 0.9)}px sans-serif`;
    context.fillText(String(map), x, top + margin * 0.82);
  }
}
