
// A picture, and all that it wins: which maps, layer by layer, and where they look.

/** @param {number} sample */
function picturePage(sample) {
  return page(`Picture ${sample}`, later(ATLAS.picture(sample), (of) => of ? pictureBody(of)
    : notFound(`The picture ${sample} is not among the winners.`), "picture-body"));
}

/** @param {Picture} of */
function pictureBody(of) {
  /** @type {Map<Layer, Picture["wins"]>} */
  const byLayer = new Map();
  for (const win of of.wins) byLayer.set(win.layer, [...(byLayer.get(win.layer) || []), win]);
  const whole = el("div", { class: "whole" }, of.whole ? wholeImage(of.sample, of.key) : null);
  const boxed = (/** @type {Picture["wins"]} */ wins, /** @type {boolean} */ strong) => wins.map(({ box }) => fieldOf(box, strong));
  const show = (/** @type {Picture["wins"]} */ wins, strong = false) => {
    for (const old of whole.querySelectorAll(".field")) old.remove();
    whole.append(...boxed(wins, strong));
  };
  show(of.wins);
  const section = (/** @type {[Layer, Picture["wins"]]} */ [layer, wins]) => {
    const made = el("section", { class: "won" }, el("h2", {}, el("a", { href: routes.layer(layer) }, bdi(layer.name)), " ",
      el("small", {}, plural(wins.length, "map"))),
    grid(wins, (win) => {
      const link = distant(layer, win.map, `rank ${win.rank}`, false);
      for (const on of ["mouseenter", "focus"]) link.addEventListener(on, () => show([win], true));
      link.addEventListener("mouseleave", () => show(wins));
      return link;
    }));
    made.addEventListener("mouseenter", () => show(wins));
    return made;
  };
  return [
    el("h1", { class: "file" }, bdi(of.key)),
    facts(`picture ${of.sample} of the dataset`, `wins ${plural(of.wins.length, "map")} of ${plural(byLayer.size, "layer")}`,
      of.name ? el("a", { href: routes.class(of.name) }, bdi(of.name)) : "", el("a", { href: routes.ask(of.sample) }, "Ask with it")),
    el("div", { class: "pictured" },
      of.whole ? el("div", { class: "pinned" }, whole, el("p", { class: "note" }, "Boxes are what the maps see of it: all of them, or those of the layer or the map that you point at.")) : null,
      el("div", {}, [...byLayer].map(section))),
    ATLAS.root.pictures ? figures(of) : null,
  ];
}

const FIGURES = /** @type {Record<string, string>} */ ({
  explained: "What the net sees in it: the strongest activation of each layer, projected",
  occluded: "What counts in it: the strongest map's activation, and the class, while a square hides each place",
});

/** The run's figures of a picture, or how to make them. @param {Picture} of */
function figures(of) {
  if (!of.figures.length) {
    return el("p", { class: "note" }, "There are no figures of this picture alone: ",
      el("code", {}, `deconv-atlas explain ${of.sample} --run RUN`), " and ", el("code", {}, `deconv-atlas occlude --images ${of.sample} --run RUN`),
      " make them, and publish brings them here.");
  }
  return of.figures.map(({ kind, file, width, height }) => el("figure", { class: "made" },
    el("figcaption", {}, FIGURES[kind]),
    el("a", { href: ATLAS.address(file) }, el("img", { src: ATLAS.address(file), width, height, loading: "lazy", alt: FIGURES[kind] }))));
}

/** @param {number[]} box @param {boolean} strong */
function fieldOf([top, left, bottom, right], strong) {
  const [height, width] = ATLAS.root.input;
  const share = (/** @type {number} */ length, /** @type {number} */ of) => `${100 * length / of}%`;
  return el("span", { class: `field${strong ? "" : " faint"}`, style: {
    left: share(left, width), top: share(top, height), width: share(right - left, width), height: share(bottom - top, height),
  } });
}
