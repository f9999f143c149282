
// What is known of a map beside its winners: so that nobody takes nine pictures for the whole.

/** How its activations are spread over all images, and where the winners and examples stand.
 * @param {Statistics} of @param {number} map @param {MapData} data */
function distribution(of, map, { bars, winners, examples: ordinary }) {
  const max = of.max[map];
  if (!bars.length || !(max > 0)) return null;
  const most = Math.log1p(Math.max(...bars));
  const place = (/** @type {number} */ value) => `${Math.max(0, Math.min(100, 100 * value / max))}%`;
  const far = outlying(of, map);
  const inactive = 1 - of.active[map];
  return el("section", { class: "distribution" },
    el("h2", {}, "Among all images"),
    el("div", { class: "spread", role: "img", "aria-label": `How many of the ${count(ATLAS.root.images)} images activate the map how strongly, from 0 to ${short(max)}.` },
      bars.map((images, i) => el("span", { class: "column", title: `${short(max * i / bars.length)} to ${short(max * (i + 1) / bars.length)}: ${count(images)} images`,
        style: { height: `${100 * Math.log1p(images) / most}%` } }))),
    el("div", { class: "line", "aria-hidden": "true" },
      ordinary.map((one) => el("span", { class: "mean", style: { left: place(one.activation) } })),
      winners.map((winner) => el("span", { class: "tick", "data-rank": winner.rank, style: { left: place(winner.activation) } }))),
    el("div", { class: "scale", "aria-hidden": "true" }, el("span", {}, "0"), el("span", {}, short(max))),
    el("p", { class: "note" }, "Images by their largest activation, on a logarithmic scale",
      inactive > 0 ? `; ${percent(inactive)} do not activate the map and stand at the left. ` : ". ",
      "The strokes below are the winners", ordinary.length ? ", the longer ones the examples. " : ". ",
      far === null ? "" : `The strongest lies ${far.toFixed(1)} standard deviations above the mean: the winners are what the map likes best, not what it usually sees.`));
}

/** Images from the middle of the distribution. @param {Layer} layer @param {number} map @param {MapData} data */
function examples(layer, map, { examples: rows, files }) {
  const lacks = !ATLAS.root.examples ? "This run has chosen none; deconv-atlas mine with --examples does, without mining again."
    : !rows.length ? "At none of the quantiles of which this run has examples is the map active."
      : !files["example-projections"] ? "They are not projected yet; deconv-atlas project does that, and publish then shows them." : "";
  if (lacks) return el("section", { class: "examples" }, el("h2", {}, "From the middle"), el("p", { class: "note" }, lacks));
  const { cell, gutter } = layer.layout;
  const pitch = cell + gutter;
  const width = ATLAS.root.examples * pitch - gutter;
  const picture = (/** @type {string} */ kind, /** @type {Example} */ one) => {
    const file = files[`example-${kind}`];
    if (!file) return null;
    const crop = el("span", { class: "crop" });
    whenSeen(crop, () => crop.append(el("img", {
      src: ATLAS.address(file), alt: `${kind === "patches" ? "Patch" : "Projection"} at ${percent(one.quantile)}`,
      class: showsPixels(layer) ? "pixels" : null,
      style: { width: `${100 * width / cell}%`, left: `${-100 * (one.rank - 1) * pitch / cell}%` },
      onerror: (/** @type {any} */ event) => event.target.replaceWith(sorry(`${file} could not be loaded.`)),
    })));
    return crop;
  };
  return el("section", { class: "examples" },
    el("h2", {}, "From the middle"),
    el("div", { class: "pairs" }, rows.map((one) => el("figure", {},
      el("div", { class: "pair" }, ATLAS.root.kinds.map((/** @type {string} */ kind) => picture(kind, one))),
      el("figcaption", {}, el("b", {}, `at ${percent(one.quantile)}`), ` · activation ${short(one.activation)}`,
        one.name ? [" · ", bdi(one.name)] : null)))),
    el("p", { class: "note" }, "What the map sees in ordinary images: so large a share of all images activates it no more than the one that is shown."));
}

/** The classes with the largest mean activation. @param {Statistics} of @param {number} map @param {MapData} data */
function preferred(of, map, { best }) {
  if (!best.length) return null;
  const index = of.selectivity[map];
  const most = best[0].mean;
  return el("section", { class: "preferred" },
    el("h2", {}, "Classes that it prefers"),
    el("table", {}, el("thead", {}, el("tr", {}, ["Class", "Mean activation", "Active on"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, best.map((one) => el("tr", {},
        el("td", { class: "class" }, el("a", { href: routes.class(one.name) }, bdi(one.name))),
        el("td", { class: "activation" }, el("span", { class: "gauge", style: { width: `${Math.max(2, 60 * one.mean / most)}px` } }), short(one.mean)),
        el("td", {}, percent(one.share)))))),
    index === null ? null : el("p", { class: "note" }, `Selectivity ${index.toFixed(2)}: 0 where all classes excite it alike, 1 where only one does (Morcos et al., 2018).`));
}
