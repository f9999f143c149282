
// The dataset's classes, and the maps with one among their winners.

const SHOWN = 384; // maps of a class at first: further ones have it once, mostly

/** @param {string} of @param {string | null} within the layer's name */
function classPage(of, within) {
  return page(of, later(ATLAS.holders(of), (all) => {
    if (!all) return notFound(`No winner is of the class “${of}”.`);
    const layer = within ? ATLAS.named.get(within) : undefined;
    const maps = layer ? all.filter((one) => one.layer === layer) : all;
    return el("div", {}, el("h1", {}, bdi(of)),
      facts(`among the winners of ${plural(maps.length, "map")}`, "those that have it most come first",
        layer ? el("span", {}, "in ", bdi(layer.name), " alone; ", el("a", { href: routes.class(of) }, "all layers")) : ""),
      several(maps));
  }));
}

/** Maps that like some kind of thing, as WordNet has it. @param {string} of */
function kindPage(of) {
  return page(of, later(ATLAS.kindred(of), (found) => {
    if (!found) return notFound(`No two classes among the winners are a kind of “${of}”.`);
    return el("div", {}, el("h1", {}, bdi(of)),
      facts(`${plural(found.classes.length, "class", "classes")} of this kind`, `among the winners of ${plural(found.maps.length, "map")}`, "those with most first"),
      el("p", { class: "chips" }, found.classes.map((one) => el("a", { class: "chip", href: routes.class(one) }, bdi(one)))),
      several(found.maps));
  }));
}

/** Some maps first, and more if they are asked for. @param {Holder[]} maps */
function several(maps) {
  const shown = el("div");
  const show = (/** @type {number} */ most) => shown.replaceChildren(
    grid(maps.slice(0, most), (one) => distant(one.layer, one.map, `${one.times}×`)),
    most < maps.length ? el("button", { type: "button", class: "more", onclick: () => show(most + SHOWN) }, `Show more of ${count(maps.length)}`) : "");
  show(SHOWN);
  return shown;
}

function classesPage() {
  return page("Classes", el("h1", {}, "Classes"), later(ATLAS.classes(), ({ names, maps }) => {
    const all = names.map((of, number) => /** @type {[string, number]} */ ([of, maps[number]]));
    all.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
    return [
      facts(`${plural(all.length, "class", "classes")} among the winners`, "with the number of maps"),
      el("ul", { class: "classes" }, all.map(([of, number]) =>
        el("li", {}, el("a", { href: routes.class(of) }, bdi(of)), el("span", {}, count(number))))),
    ];
  }));
}

/** @param {string} text */
function notFound(text) {
  return page("Not here", el("h1", {}, "Not here"), el("p", { class: "note" }, `${text} `, el("a", { href: routes.home() }, "To all layers")));
}
