
// Going from page to page; keys, and the search box.

const main = /** @type {HTMLElement} */ (document.getElementById("main"));

/** @typedef {{layer?: Layer, map?: number, make: () => HTMLElement}} Place */

/** The place that an address means. @param {string} hash @returns {Place} */
function placeOf(hash) {
  const { path, query, state } = parsed(hash);
  if (!path.length) return { make: queriedPage(query) };
  const [of, number] = path;
  const layer = ATLAS.named.get(of);
  if (!layer) return { make: () => notFound(`The atlas has no layer “${of}”.`) };
  if (number === undefined) return { layer, make: () => layerPage(layer, state) };
  const map = /^\d+$/.test(number) ? Number(number) : NaN;
  if (!(map < layer.maps)) return { layer, make: () => notFound(`${layer.name} has the maps 0 to ${layer.maps - 1}.`) };
  return { layer, map, make: () => mapPage(layer, map, state) };
}

/** @param {URLSearchParams} query */
function queriedPage(query) {
  const of = (/** @type {string} */ key) => query.get(key) || "";
  if (query.has("class")) return () => classPage(of("class"), query.get("in"));
  if (query.has("kind")) return () => kindPage(of("kind"));
  if (query.has("classes")) return classesPage;
  if (query.has("picture")) return () => picturePage(Number(of("picture")));
  if (query.has("compare")) return () => comparePage(of("compare"));
  if (query.has("about")) return aboutPage;
  if (query.has("ask")) return () => page("Ask", later(ATLAS.run(ATLAS.root.files.ask), () => askPage(of("ask"))));
  return homePage;
}

/** @type {Map<string, number>} */
const scrolls = new Map(); // where each page was left
/** @type {Place & {hash: string | null}} */
let here = { hash: null, make: homePage };

function go() {
  const hash = location.hash || routes.home();
  if (hash === "#main") return; // the skip link
  const place = placeOf(hash);
  const stepping = here.map !== undefined && place.map !== undefined && here.layer === place.layer;
  if (here.hash !== null) scrolls.set(here.hash, window.scrollY);
  const stay = stepping ? window.scrollY : place.map === undefined ? scrolls.get(hash) || 0 : 0;
  const first = here.hash === null;
  here = { ...place, hash };
  main.style.minHeight = stay ? `${stay + window.innerHeight}px` : ""; // until what is loaded is there
  main.replaceChildren(place.make());
  markLayer(place.layer, hash);
  window.scrollTo(0, stay);
  settled(() => { window.scrollTo(0, stay); main.style.minHeight = ""; }, stay);
  const typing = document.activeElement?.closest("input, select, textarea"); // since it was left
  if (!first && !typing) main.focus({ preventScroll: true });
}

/** Once what a page waits for is there, unless somebody has scrolled meanwhile.
 * @param {() => void} act @param {number} stay */
function settled(act, stay) {
  const page = main.firstElementChild;
  const observer = new MutationObserver(check);
  function check() {
    if (main.firstElementChild !== page) observer.disconnect();
    else if (!main.querySelector("[aria-busy]")) {
      observer.disconnect();
      if (stay && Math.abs(window.scrollY - stay) < 2 * window.innerHeight) act();
      else main.style.minHeight = "";
    }
  }
  observer.observe(main, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-busy"] });
  check();
}

/** @param {Layer | undefined} layer @param {string} hash */
function markLayer(layer, hash) {
  for (const entry of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("#layers a"))) {
    const current = layer ? entry.dataset.layer === layer.name
      : entry.hash === hash || (entry.hash === routes.classes() && /^#\?(class|kind)=/.test(hash))
        || (entry.hash === routes.ask() && /^#\?ask=/.test(hash));
    if (current) {
      entry.setAttribute("aria-current", "page");
      entry.scrollIntoView({ block: "nearest", inline: "center" });
    } else entry.removeAttribute("aria-current");
  }
}

// --- keys -----------------------------------------------------------------------------------

const KEYS = [
  ["/", "search"], ["← →", "the map before, the next one; on a grid also ↑ ↓ Home End"],
  ["Esc", "from a map to its layer, from a layer to all"], ["w", "a layer as a wall, or as a grid"],
  ["p", "projections or patches"], ["?", "these keys"],
];

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {Element} */ (event.target);
  if (event.altKey || event.ctrlKey || event.metaKey || target.closest("input, select, textarea, dialog")) return;
  const act = {
    "/": () => document.getElementById("search")?.focus(), "?": showKeys, Escape: up,
    ArrowLeft: () => follow("prev"), ArrowRight: () => follow("next"),
    w: () => toggle("view"), p: () => toggle("kind"),
  }[event.key];
  if (!act) return;
  if (event.key === "/") event.preventDefault();
  act();
}

/** To the map beside this one; Back leads to where one came from, not through all of them. @param {string} rel */
function follow(rel) {
  const link = /** @type {HTMLAnchorElement | null} */ (main.querySelector(`a.step[rel=${rel}]`));
  if (!link) return;
  stepped = true;
  restate(link.hash);
  go();
}

function up() {
  const { layer, map } = here;
  if (layer && map !== undefined) location.hash = routes.layer(layer, parsed(location.hash).state);
  else if (location.hash !== routes.home()) location.hash = routes.home();
}

/** The other one of two choices of a layer's page. @param {string} group */
function toggle(group) {
  const blend = /** @type {HTMLInputElement | null} */ (main.querySelector("#blend"));
  if (group === "kind" && blend) {
    blend.value = Number(blend.value) > 50 ? "0" : "100";
    blend.dispatchEvent(new Event("input"));
    return;
  }
  const other = /** @type {HTMLInputElement | null} */ (main.querySelector(`input[name=${group}]:not(:checked)`));
  other?.click();
}

function showKeys() {
  const dialog = el("dialog", { class: "keys", "aria-label": "Keys" }, el("h2", {}, "Keys"),
    el("dl", {}, KEYS.map(([key, text]) => el("div", {}, el("dt", {}, key.split(" ").map((one) => el("kbd", {}, one))), el("dd", {}, text)))),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// --- search ---------------------------------------------------------------------------------

function startSearch() {
  const input = /** @type {HTMLInputElement} */ (document.getElementById("search"));
  const list = /** @type {HTMLElement} */ (document.getElementById("found"));
  /** @type {Classes} */
  let classes = { names: [], maps: [], each: 1, parts: [], kinds: [] };
  let at = -1;

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function leave() {
    input.value = "";
    input.blur(); // closes
  }
  function choose(/** @type {HTMLElement} */ option) {
    location.hash = option.dataset.to || "";
    leave();
  }
  function select(/** @type {number} */ index) {
    const options = [...list.querySelectorAll("[role=option]")];
    at = (index + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    input.setAttribute("aria-activedescendant", options[at].id);
    options[at].scrollIntoView({ block: "nearest" });
  }
  function fill() {
    const found = search(input.value, classes);
    list.replaceChildren(...(found.length ? found.map((one, i) => foundOption(one, i, choose))
      : [el("li", { class: "nothing" }, "Nothing found: a class, a layer, the number of a map, or “dead”.")]));
    list.hidden = !input.value.trim();
    input.setAttribute("aria-expanded", String(!list.hidden));
    if (found.length && !list.hidden) select(0);
  }
  input.addEventListener("input", fill);
  input.addEventListener("focus", () => {
    ATLAS.classes().then((all) => { classes = all; if (input.value && document.activeElement === input) fill(); }, () => undefined);
    if (input.value) fill();
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const options = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("[role=option]"));
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") leave();
    if (list.hidden || !options.length) return;
    if (step) {
      event.preventDefault();
      select(at + step);
    }
    if (event.key === "Enter") choose(options[at]);
  });
}

/** @param {Found} one @param {number} i @param {(option: HTMLElement) => void} choose */
function foundOption(one, i, choose) {
  const { to, text, note } = toldOf(one);
  const option = el("li", { role: "option", id: `found-${i}`, "data-to": to, "aria-selected": "false" },
    el("span", { class: "what" }, bdi(text)), el("small", {}, note));
  option.addEventListener("mousedown", (/** @type {Event} */ event) => {
    event.preventDefault(); // the box keeps the focus until the choice is made
    choose(option);
  });
  return option;
}

/** @param {Found} one */
function toldOf(one) {
  if (one.kind === "layer") return { to: routes.layer(one.layer), text: one.layer.name, note: plural(one.layer.maps, "map") };
  if (one.kind === "map") return { to: routes.map(one.layer, one.map), text: `${one.layer.name} / ${one.map}`, note: "map" };
  if (one.kind === "dead") return { to: routes.layer(one.layer, { only: "dead" }), text: `${one.layer.name}: the dead`, note: plural(one.layer.dead, "map") };
  if (one.kind === "kind") return { to: routes.kind(one.name), text: one.name, note: `a kind of ${plural(one.classes, "class", "classes")}` };
  return { to: routes.class(one.name, one.layer), text: one.name, note: one.layer ? `in ${one.layer.name}` : `in ${plural(one.maps, "map")}` };
}

// --- start ----------------------------------------------------------------------------------

function start() {
  document.documentElement.classList.toggle("embedded", /[?&]embed\b/.test(location.search + location.hash));
  /** @type {HTMLElement} */ (document.getElementById("brand")).textContent = ATLAS.root.net;
  const entry = (/** @type {Layer} */ layer) => el("a", { href: routes.layer(layer), "data-layer": layer.name },
    bdi(layer.name), el("span", {}, count(layer.maps)));
  const more = [
    ATLAS.root.files.classes ? el("a", { href: routes.classes(), class: "all" }, "Classes") : null,
    el("a", { href: routes.ask(), class: "all" }, "Ask"),
    el("a", { href: routes.about(), class: "all" }, "About"),
  ];
  document.getElementById("layers")?.append(
    el("a", { href: routes.home(), class: "all" }, "All layers"), ...ATLAS.layers.map(entry), ...more.filter(Boolean));
  history.scrollRestoration = "manual";
  document.getElementById("skip")?.addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  window.addEventListener("hashchange", go);
  window.addEventListener("keydown", onKey);
  startSearch();
  go();
}

start();
