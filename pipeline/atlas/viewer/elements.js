
// What the pages are made of: elements, texts, thumbnails.

const SECTION = 64; // thumbnails that the browser lays out, or leaves out, together

/**
 * An element with attributes and children; texts are texts, never markup.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...any} children
 * @returns {any}
 */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(made.style, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** A name that may be written from right to left. @param {string} text */
const bdi = (text) => el("bdi", {}, text);

const count = (/** @type {number} */ number) => number.toLocaleString("en");
const plural = (/** @type {number} */ number, /** @type {string} */ noun, nouns = `${noun}s`) => `${count(number)} ${number === 1 ? noun : nouns}`;
const percent = (/** @type {number} */ share) => share < 0.001 ? "< 0.1 %" : `${Number((100 * share).toPrecision(share < 0.1 ? 2 : 3))} %`;

/** @param {number | null} value */
function short(value) {
  return value === null ? "–" : value >= 1000 ? count(Math.round(value)) : value.toPrecision(4);
}

/** Short texts in a row; empty ones are left out. @param {...any} texts */
function facts(...texts) {
  return el("p", { class: "facts" }, texts.filter(Boolean).map((text) => el("span", {}, text)));
}

/** @param {Layer} layer */
const fieldFact = (layer) => `sees ${layer.receptive_field[1]} × ${layer.receptive_field[0]} px`;

/** @param {Layer} layer */
function layerFacts(layer) {
  return facts(plural(layer.maps, "map"), fieldFact(layer),
    layer.stride[1] ? `stride ${layer.stride[1]}` : "", layer.dead ? `${count(layer.dead)} dead` : "");
}

/** What is shown when something could not be loaded. @param {any} error */
const sorry = (error) => el("p", { class: "note", role: "alert" }, String(error.message || error));

/** An element that fills when its promise is kept, or says why not. @template T
 * @param {Promise<T>} promise @param {(value: T) => any} make @param {string} [kind] */
function later(promise, make, kind = "later") {
  const holder = el("div", { class: kind, "aria-busy": "true" });
  promise.then(make).catch(sorry).then((made) => {
    holder.removeAttribute("aria-busy");
    holder.replaceChildren(...[made].flat(Infinity).filter(Boolean));
  });
  return holder;
}

/** Do something once, when an element comes near the window. @param {Element} element @param {() => void} act */
function whenSeen(element, act) {
  const observer = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      observer.disconnect();
      act();
    }
  }, { rootMargin: "200px" });
  observer.observe(element);
}

/** Do something when an element is not in the page any more. @param {Element} element @param {() => void} act */
function whenGone(element, act) {
  const observer = new MutationObserver(() => {
    if (element.isConnected) return;
    observer.disconnect();
    act();
  });
  observer.observe(document.getElementById("main") || document.body, { childList: true, subtree: true });
}

// --- thumbnails -----------------------------------------------------------------------------

/** Where a map is in a sprite, as a CSS background.
 * @param {string} file @param {number} at in the sprite @param {number} cells of the sprite */
function background(file, at, cells) {
  const { columns } = ATLAS.root.sprite;
  const rows = Math.ceil(cells / columns);
  const share = (/** @type {number} */ place, /** @type {number} */ of) => `${of > 1 ? 100 * place / (of - 1) : 0}%`;
  return {
    backgroundImage: `url("${ATLAS.address(file)}")`,
    backgroundSize: `${100 * columns}% ${100 * rows}%`,
    backgroundPosition: `${share(at % columns, columns)} ${share(Math.floor(at / columns), rows)}`,
  };
}

/** The same of a layer's map. @param {Layer} layer @param {Statistics} of @param {number} map @param {string} kind @param {string} size */
function thumbnailOf(layer, of, map, kind, size) {
  const { cells } = ATLAS.root.sprite;
  const page = Math.floor(map / cells);
  const here = Math.min(cells, layer.maps - page * cells);
  return background(of.pages[page][`${kind}-${size}`], map - page * cells, here);
}

/** A map's small picture; `kind`, or the other one as long as it is pointed at.
 * @param {Layer} layer @param {Statistics} of @param {number} map @param {string} kind */
function picture(layer, of, map, kind) {
  const lack = ATLAS.lack(of, map);
  return el("span", { class: `picture ${lack}`, style: lack ? {} : thumbnailOf(layer, of, map, kind, "large") });
}

/** @param {Layer} layer @param {Statistics} of @param {number} map
 * @param {{kind?: string, state?: Partial<State>, of?: boolean, note?: string}} how
 *   of: say first which layer the map belongs to */
function thumbnail(layer, of, map, { kind = "projections", state = {}, of: tell = false, note = "" } = {}) {
  const lack = ATLAS.lack(of, map);
  const shown = picture(layer, of, map, kind);
  const link = el("a", {
    class: "thumbnail", href: routes.map(layer, map, state), "data-map": map,
    "aria-label": `${layer.name}, map ${map}${lack ? `, ${lack}` : ""}${note ? `, ${note}` : ""}`,
  }, shown, el("span", { class: "caption" }, tell ? el("span", { class: "of" }, bdi(layer.name)) : null,
    el("span", {}, tell ? `map ${map}` : String(map)), note ? el("em", {}, bdi(note)) : null));
  const { kinds } = ATLAS.root;
  if (!lack && kinds.length > 1) {
    const other = kind === "projections" ? "patches" : "projections";
    const show = (/** @type {string} */ which) => () => Object.assign(shown.style, thumbnailOf(layer, of, map, which, "large"));
    for (const on of ["mouseenter", "focus"]) link.addEventListener(on, show(other));
    for (const on of ["mouseleave", "blur"]) link.addEventListener(on, show(kind));
  }
  return link;
}

/** A thumbnail of a layer that may not be known yet: it fills when it is seen.
 * @param {Layer} layer @param {number} map @param {string} note @param {boolean} [tell] which layer it is of */
function distant(layer, map, note, tell = true) {
  const link = el("a", { class: "thumbnail", href: routes.map(layer, map), "data-map": map },
    el("span", { class: "picture" }), el("span", { class: "caption" },
      tell ? [el("span", { class: "of" }, bdi(layer.name)), " "] : null, el("span", {}, `map ${map}`), " ", el("em", {}, note)));
  whenSeen(link, () => ATLAS.statistics(layer).then((of) => {
    Object.assign(link.firstChild.style, thumbnailOf(layer, of, map, "projections", "small"));
  }, () => undefined));
  return link;
}

/** Thumbnails by the hundred: those far from the window cost nothing. One stop of the tab key;
 * arrows go from one to the next. @template T @param {T[]} items @param {(item: T) => HTMLElement} make */
function grid(items, make) {
  const sections = [];
  for (let from = 0; from < items.length; from += SECTION) {
    sections.push(el("div", { class: "thumbnails" }, items.slice(from, from + SECTION).map(make)));
  }
  const made = el("div", { class: "grid" }, sections);
  roving(made, ".thumbnail");
  return made;
}

/** One of some elements is a stop of the tab key, and arrows lead from it to the others.
 * @param {HTMLElement} holder @param {string} selector */
function roving(holder, selector) {
  const all = () => /** @type {HTMLElement[]} */ ([...holder.querySelectorAll(selector)]);
  all().forEach((one, i) => { one.tabIndex = i ? -1 : 0; });
  holder.addEventListener("focusin", (event) => {
    const now = /** @type {HTMLElement} */ (event.target).closest(selector);
    if (!now) return;
    for (const one of all()) one.tabIndex = one === now ? 0 : -1;
  });
  holder.addEventListener("keydown", (event) => {
    const items = all();
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = at < 0 ? undefined : nextPlace(items, at, event.key);
    if (to === undefined || !items[to]) return;
    event.preventDefault();
    event.stopPropagation();
    items[to].focus();
  });
}

/** @param {HTMLElement[]} items @param {number} at @param {string} key */
function nextPlace(items, at, key) {
  if (key === "Home") return 0;
  if (key === "End") return items.length - 1;
  if (key === "ArrowLeft") return at - 1;
  if (key === "ArrowRight") return at + 1;
  if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
  const { left, top } = items[at].getBoundingClientRect();
  const step = key === "ArrowUp" ? -1 : 1;
  for (let to = at + step; items[to]; to += step) { // the next one right above or below
    const box = items[to].getBoundingClientRect();
    if (Math.abs(box.left - left) < box.width / 2 && box.top !== top) return to;
  }
  return undefined;
}
