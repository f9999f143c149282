
// About this run: all that a reader must know to judge what is shown, and to cite it.

function aboutPage() {
  const { about, files, credit } = ATLAS.root;
  const row = (/** @type {Layer} */ layer) => el("tr", {},
    el("td", {}, el("a", { href: routes.layer(layer) }, bdi(layer.name))), el("td", {}, count(layer.maps)),
    el("td", {}, `${layer.size[1]} × ${layer.size[0]}`), el("td", {}, `${layer.receptive_field[1]} × ${layer.receptive_field[0]}`),
    el("td", {}, String(layer.stride[1] || "–")), el("td", {}, layer.dead ? count(layer.dead) : ""));
  const head = ["Layer", "Maps", "Their size", "Sees, in pixels", "Stride", "Dead"].map((text) => el("th", { scope: "col" }, text));
  const download = (/** @type {string} */ file, /** @type {string} */ text) => el("li", {}, el("a", { href: ATLAS.address(file), download: "" }, text));
  return page("About", el("h1", {}, "About this atlas"),
    el("dl", { class: "about" }, about.map((/** @type {[string, string]} */ [term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, bdi(value))))),
    el("h2", {}, "How it was made"),
    el("p", { class: "prose" }, "Every image of the dataset goes through the net once. Of each feature map of each layer the images are kept whose largest "
      + "value is highest; equal ones in the order of the dataset. Each winner's largest value is then sent back alone to the pixels through the "
      + "deconvnet: maxima are unpooled to where they came from, signals rectified, and filtered with the transposed filters (Zeiler and Fergus, 2013)."),
    el("p", { class: "prose" }, "A projection shows zero as mid-grey and has a contrast of its own; the patch beside it is what the map's strongest position "
      + "sees of the picture. The nine strongest are what a map likes best, and look purer than what it usually answers to."),
    el("h2", {}, "A control"),
    el("p", { class: "prose" }, "How much of a projection is the picture's edges, and how much what the net has learned? Winners are projected again "
      + "while the weights of more and more layers, from the top down, are drawn anew; what stays alike owes nothing to these weights."),
    files.control ? el("a", { class: "diagram", href: ATLAS.address(files.control) },
      el("img", { src: ATLAS.address(files.control), loading: "lazy", alt: "How like projections stay as the weights of more and more layers are drawn anew, and winners of several layers" }))
      : el("p", { class: "note" }, "There is no such figure here: deconv-atlas control makes it, and publish then shows it, unless pictures of the dataset are not to be shown."),
    el("h2", {}, "The net"),
    files.diagram ? el("a", { class: "diagram", href: ATLAS.address(files.diagram) },
      el("img", { src: ATLAS.address(files.diagram), alt: `The layers of ${ATLAS.root.net}, and the way back through the deconvnet` }))
      : el("p", { class: "note" }, "There is no diagram of the net here: publish makes it where the net's weights are at hand."),
    el("h2", {}, "The layers"),
    el("div", { class: "scroll" }, el("table", { class: "layers" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, ATLAS.layers.map(row)))),
    el("h2", {}, "The numbers"),
    el("ul", {}, download(files.winners, "All winners that are shown, as Parquet"), download(files.feature_maps, "All feature maps, as Parquet")),
    el("h2", {}, "How to cite it"), el("pre", { tabindex: 0 }, bibtex()), el("p", {}, copying("Copy", bibtex)),
    el("h2", {}, "Licences"),
    el("p", { class: "prose" }, credit || "The pictures are those of the dataset, and belong to whom it says.", " The wall is shown by ",
      el("a", { href: ATLAS.address(files.licence) }, "OpenSeadragon"), " (BSD licence), the rest by deconv-atlas (Apache 2.0)."));
}
