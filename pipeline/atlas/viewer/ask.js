// Ask with a picture: what it excites, and what hiding a part of it does. A service answers beside
// the atlas (`deconv-atlas ask`); this file is loaded when its page is opened.

/**
 * @typedef {{net: string, layers: {layer: string, maps: number}[], input: Pair, classes: number,
 *   most_bytes: number, remembered: number}} Service
 * @typedef {{feature_map: number, activation: number, stronger_than: number, box: number[],
 *   projection: string}} StrongMap
 * @typedef {{label: number, name: string, probability: number, before?: number}} ClassShare
 * @typedef {{picture: string, name: string, turned: boolean, seen: string, classes: ClassShare[],
 *   layers: {layer: string, maps: StrongMap[]}[]}} Answer
 * @typedef {{classes: ClassShare[], maps: {layer: string, feature_map: number, activation: number, before: number}[]}} Hidden
 */

const LAYERS_AT_ONCE = 8; // of a deep net: its first layers are there while the others are on their way
const FAINT = 0.01; // of a class's probability: to lose less than that is nothing
const IN_FLIGHT = 2; // questions while a hand moves: one is computed, the next one is on its way

/** What was asked last, for who comes back from a map's page. @type {Asking | undefined} */
let lastAsked;

/** A service beside this atlas, if one answers. @returns {Promise<Service | null>} */
async function serviceHere() {
  if (location.protocol === "file:") return null;
  try {
    const response = await fetch("ask/service");
    return response.ok ? await response.json() : null;
  } catch { return null; }
}

/** @param {string} sample of the dataset, or "" */
function askPage(sample) {
  return [el("h1", {}, "What does ", el("em", {}, bdi(ATLAS.root.net)), " see in it?"),
    later(serviceHere(), (service) => service ? askBody(service, sample) : noService())];
}

function noService() {
  return [
    el("p", { class: "prose" }, "Show the net a picture of your own: which feature maps see what in it, and what counts. "
      + "That needs somebody who computes it, and no service answers beside this atlas."),
    el("p", { class: "prose" }, "Whoever has the run starts one, and opens the address that it says:"),
    el("pre", { tabindex: 0 }, "deconv-atlas ask RUN"),
  ];
}

/** @param {Service} service @param {string} sample */
function askBody(service, sample) {
  const result = el("div", { class: "asked", "aria-live": "polite" });
  const ask = (/** @type {Blob | string} */ picture) => {
    if (picture instanceof Blob && picture.size > service.most_bytes) {
      result.replaceChildren(sorry(`The picture has ${megabytes(picture.size)}; this service takes up to ${megabytes(service.most_bytes)}.`));
      return;
    }
    lastAsked = new Asking(service, picture);
    show(lastAsked, result);
  };
  if (sample) {
    if (lastAsked?.picture === sample) show(lastAsked, result);
    else ask(sample);
  } else if (lastAsked && typeof lastAsked.picture !== "string") show(lastAsked, result);
  return [chooser(ask), result];
}

const megabytes = (/** @type {number} */ bytes) => `${Math.ceil(bytes / 2 ** 20)} MB`;

/** A picture, and what is known of it. */
class Asking {
  /** @param {Service} service @param {Blob | string} picture a file, or the number of a sample */
  constructor(service, picture) {
    this.service = service;
    this.picture = picture;
    this.name = typeof picture === "string" ? picture : "";
    /** @type {Promise<Answer>[]} */
    this.parts = [];
  }

  /** The answer about some of the layers, the lowest first. @returns {Promise<Answer>[]} */
  answers() {
    if (this.parts.length) return this.parts;
    const layers = this.service.layers.map(({ layer }) => layer);
    let before = Promise.resolve();
    for (let from = 0; from < layers.length; from += LAYERS_AT_ONCE) {
      const query = layers.slice(from, from + LAYERS_AT_ONCE).map((layer) => `layers=${encodeURIComponent(layer)}`);
      const part = before.then(() => this.question("answer", query)).then((response) => response.json())
        .then((answer) => { this.name = answer.picture; return answer; });
      this.parts.push(part);
      before = part.then(() => undefined);
    }
    return this.parts;
  }

  /** A question about the picture; its file is sent only as long as the service has not got it.
   * @param {string} what @param {string[]} query @param {AbortSignal} [signal] @returns {Promise<Response>} */
  async question(what, query, signal) {
    const address = (/** @type {string} */ name) => `ask/${what}?${[...(name ? [`picture=${encodeURIComponent(name)}`] : []), ...query].join("&")}`;
    const file = typeof this.picture === "string" ? null : this.picture;
    let response = await posted(address(this.name), this.name ? null : file, signal);
    if (response.status === 404 && this.name && file) response = await posted(address(""), file, signal);
    if (!response.ok) throw new Error(await faultOf(response));
    return response;
  }
}

/** A request, and once more where what was at work on it died, or was busy.
 * @param {string} address @param {Blob | null} body @param {AbortSignal} [signal] */
async function posted(address, body, signal) {
  const send = () => fetch(address, { method: "POST", body, signal });
  const first = await send().catch((error) => { if (signal?.aborted) throw error; return null; });
  if (first && first.status !== 503 && first.status !== 500) return first;
  await new Promise((done) => setTimeout(done, 700));
  return send().catch((error) => { throw signal?.aborted ? error : new Error("The service does not answer any more."); });
}

/** @param {Response} response */
async function faultOf(response) {
  try { return (await response.json()).error; } catch { return `The service fails (${response.status}).`; }
}

// --- choosing a picture ---------------------------------------------------------------------

/** Drop, paste, choose, or the camera. @param {(picture: Blob) => void} ask */
function chooser(ask) {
  const said = el("p", { class: "note", role: "status" });
  const take = (/** @type {Iterable<File> | null | undefined} */ files) => {
    const file = [...files || []].find((one) => one.type.startsWith("image/") || !one.type);
    if (file) { said.textContent = ""; ask(file); } else said.textContent = "That is no picture.";
  };
  const input = el("input", { type: "file", accept: "image/*", id: "chosen", class: "unseen", onchange: (/** @type {any} */ event) => { take(event.target.files); event.target.value = ""; } });
  const camera = el("input", { type: "file", accept: "image/*", capture: "environment", class: "unseen", tabindex: -1, "aria-hidden": "true", onchange: (/** @type {any} */ event) => take(event.target.files) });
  const made = el("div", { class: "chooser" },
    el("div", { class: "ways" }, el("span", {}, el("b", {}, "Drop a picture here"), ", paste one, or"), input, el("label", { for: "chosen", class: "button" }, "Choose a file"), camera,
      el("button", { type: "button", onclick: () => photographed(ask).catch(() => camera.click()) }, "Camera")),
    said, el("p", { class: "note" }, "It goes to this service alone, which holds it in memory while you ask about it, and stores nothing of it."));
  const over = (/** @type {DragEvent} */ event) => { event.preventDefault(); made.classList.add("over"); };
  const out = () => made.classList.remove("over");
  const drop = (/** @type {DragEvent} */ event) => { event.preventDefault(); out(); take(event.dataTransfer?.files); };
  const paste = (/** @type {ClipboardEvent} */ event) => { if (event.clipboardData?.files.length) take(event.clipboardData.files); };
  const listeners = /** @type {[string, any][]} */ ([["dragover", over], ["dragleave", out], ["drop", drop], ["paste", paste]]);
  for (const [name, act] of listeners) window.addEventListener(name, act);
  whenGone(made, () => listeners.forEach(([name, act]) => window.removeEventListener(name, act)));
  return made;
}

/** A picture of the camera, in a dialog. Fails where the page may not use it.
 * @param {(picture: Blob) => void} ask */
async function photographed(ask) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = el("video", { autoplay: true, playsinline: true, muted: true });
  video.srcObject = stream;
  const dialog = el("dialog", { class: "camera", "aria-label": "Camera" }, video, el("div", { class: "ways" },
    el("button", { type: "button", onclick: () => {
      const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((/** @type {Blob} */ blob) => { dialog.close(); ask(blob); }, "image/png");
    } }, "Take it"), el("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("close", () => { stream.getTracks().forEach((track) => track.stop()); dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
}

// --- the answer -----------------------------------------------------------------------------

/** @param {Asking} asking @param {HTMLElement} result */
function show(asking, result) {
  const [first, ...more] = asking.answers();
  result.replaceChildren(later(first, (answer) => {
    const stage = stageOf(asking, answer);
    const parts = el("div", {}, sections(answer, stage), more.map((part) => later(part, (next) => sections(next, stage))));
    return el("div", { class: "pictured" }, stage.element, parts);
  }, "later waiting"));
}

/** What an answer says of its layers. @param {Answer} answer @param {Stage} stage */
function sections(answer, stage) {
  return answer.layers.map(({ layer: name, maps }) => {
    const layer = ATLAS.named.get(name);
    if (!layer) return null;
    return el("section", { class: "saw" }, el("h2", {}, el("a", { href: routes.layer(layer) }, bdi(name))),
      maps.length ? el("div", { class: "strong" }, maps.map((map) => strong(layer, map, stage)))
        : el("p", { class: "note" }, "Nothing in it activates this layer."));
  });
}

/** A feature map: what it sees in this picture, beside what it looks for.
 * @param {Layer} layer @param {StrongMap} map @param {Stage} stage */
function strong(layer, map, stage) {
  const share = map.stronger_than;
  const bar = el("span", { class: "level" }, el("span", { class: "now" }));
  const value = el("span", { class: "value" }, short(map.activation));
  const made = el("figure", { class: "strong-map", "data-map": `${layer.name}/${map.feature_map}` },
    el("div", { class: "beside" },
      el("span", { class: "mine" }, el("img", { src: map.projection, class: showsPixels(layer) ? "pixels" : "", alt: `What map ${map.feature_map} of ${layer.name} sees in this picture` }), el("span", { class: "caption" }, "in this picture")),
      distant(layer, map.feature_map, "", false)),
    el("figcaption", {}, bar, value, el("span", { class: "note" }, `stronger than ${share >= 0.9995 ? "99.9" : (100 * share).toFixed(share < 0.995 ? 0 : 1)} % of the images`)));
  for (const on of ["mouseenter", "focusin"]) made.addEventListener(on, () => stage.point(map.box));
  for (const on of ["mouseleave", "focusout"]) made.addEventListener(on, () => stage.point(null));
  stage.watch(layer.name, map, (/** @type {number} */ now) => {
    bar.firstChild.style.width = `${Math.min(100, 100 * now / map.activation)}%`;
    const same = Math.abs(now - map.activation) < 0.005 * map.activation;
    value.textContent = same ? short(map.activation) : `${short(now)} of ${short(map.activation)}`;
  });
  return made;
}

// --- the picture, of which a part is hidden -------------------------------------------------

/**
 * @typedef {{element: HTMLElement, point: (box: number[] | null) => void,
 *   watch: (layer: string, map: StrongMap, told: (now: number) => void) => void}} Stage
 */

/** @param {Asking} asking @param {Answer} answer @returns {Stage} */
function stageOf(asking, answer) {
  const [height, width] = asking.service.input;
  const share = (/** @type {number} */ length, /** @type {number} */ of) => `${100 * length / of}%`;
  /** @param {HTMLElement} made @param {number[]} box */
  const laid = (made, [top, left, bottom, right]) => Object.assign(made.style, {
    left: share(left, width), top: share(top, height), width: share(right - left, width), height: share(bottom - top, height),
  });
  const hides = asking.service.classes > 0;
  const field = el("span", { class: "field", hidden: true });
  const square = el("span", { class: "hides", hidden: true });
  const heat = el("canvas", { class: "heat", hidden: true });
  const picture = el("div", {
    class: "whole stage", tabindex: hides ? 0 : null, role: hides ? "application" : null,
    "aria-label": hides ? "The picture. Arrows move a square that hides a part of it, + and - change its size, Escape takes it away." : null,
  }, el("img", { src: answer.seen, width, height, alt: "The picture as the net sees it", draggable: false }), heat, field, square);
  const bars = el("div", { class: "shares" });
  const told = el("p", { class: "note effect", role: "status" });
  /** @type {Map<string, {was: number, tell: (now: number) => void}>} */
  const watched = new Map();

  const classes = (/** @type {ClassShare[]} */ all) => bars.replaceChildren(...all.map(classBar));
  const point = (/** @type {number[] | null} */ box) => { field.hidden = !box; if (box) laid(field, box); };
  const watch = (/** @type {string} */ layer, /** @type {StrongMap} */ map, /** @type {(now: number) => void} */ tell) => {
    watched.set(`${layer}/${map.feature_map}`, { was: map.activation, tell });
    tell(map.activation);
  };
  const without = () => {
    classes(answer.classes);
    for (const { was, tell } of watched.values()) tell(was);
    told.textContent = hides ? "Point at the picture to hide a part of it." : "";
  };
  const withHidden = (/** @type {Hidden} */ hidden) => {
    const known = new Set(answer.classes.map(({ label }) => label));
    const [top] = hidden.classes;
    classes([...(known.has(top.label) ? [] : [top]), ...answer.classes.map(({ label }) => hidden.classes.find((one) => one.label === label) || answer.classes[0])]);
    for (const map of hidden.maps) watched.get(`${map.layer}/${map.feature_map}`)?.tell(map.activation);
    const [was] = answer.classes;
    told.textContent = top.label === was.label ? `Still ${top.name}: ${percent(top.probability)}.` : `Now ${top.name}, no longer ${was.name}.`;
  };
  without();
  const hiding = hides ? hidingBy(asking, picture, square, laid, watched, { without, withHidden, failed: (text) => { told.textContent = text; } }) : null;
  const element = el("div", { class: "pinned" }, picture, told, hiding ? [hiding.control, counting(asking, heat, told)] : null, bars,
    answer.turned ? el("p", { class: "note" }, "Turned upright, as its file says.") : null,
    answer.name ? el("p", { class: "note key-note" }, bdi(answer.name)) : null);
  return { element, point, watch };
}

/** @param {ClassShare} of */
function classBar({ name, probability, before }) {
  return el("div", { class: "share" }, el("span", { class: "share-name" }, bdi(name)), el("span", { class: "level" },
    el("span", { class: "now", style: { width: `${100 * probability}%` } }),
    before === undefined ? null : el("span", { class: "was", style: { left: `${100 * before}%` } })), el("span", { class: "value" }, percent(probability)));
}

/**
 * A square that follows the hand, and what hiding it does.
 * @param {Asking} asking @param {HTMLElement} picture @param {HTMLElement} square
 * @param {(made: HTMLElement, box: number[]) => void} laid @param {Map<string, any>} watched
 * @param {{without: () => void, withHidden: (hidden: Hidden) => void, failed: (text: string) => void}} tell
 */
function hidingBy(asking, picture, square, laid, watched, tell) {
  const [height, width] = asking.service.input;
  const shorter = Math.min(height, width);
  const slider = el("input", { type: "range", id: "hides", min: 4, max: 80, value: 30, oninput: () => { if (at) move(at); } });
  /** @type {[number, number] | null} */
  let at = null; // its middle: y, x
  /** @type {number[] | null} */
  let wanted = null; // the box to ask about next
  let flying = 0;
  let asked = 0;
  let shown = 0;

  function move(/** @type {[number, number]} */ to) {
    const half = Math.max(1, Math.round(shorter * Number(slider.value) / 200));
    const within = (/** @type {number} */ middle, /** @type {number} */ side) => Math.max(0, Math.min(side - 1, Math.round(middle)));
    at = [within(to[0], height), within(to[1], width)];
    const box = [Math.max(0, at[0] - half), Math.max(0, at[1] - half), Math.min(height, at[0] + half), Math.min(width, at[1] + half)];
    square.hidden = false;
    laid(square, box);
    wanted = box;
    pump();
  }
  function leave() {
    at = wanted = null;
    square.hidden = true;
    shown = ++asked; // what is on its way comes too late
    tell.without();
  }
  function pump() {
    if (!wanted || flying >= IN_FLIGHT) return;
    const number = ++asked;
    const query = [`box=${wanted.join(",")}`, ...[...watched.keys()].map((map) => `map=${encodeURIComponent(map)}`)];
    wanted = null;
    flying += 1;
    asking.question("hidden", query).then((response) => response.json()).then((hidden) => {
      if (number > shown) { shown = number; tell.withHidden(hidden); }
    }, (error) => { if (number > shown) tell.failed(error.message); }).finally(() => { flying -= 1; pump(); });
  }
  const place = (/** @type {PointerEvent} */ event) => {
    const box = picture.getBoundingClientRect();
    move([(event.clientY - box.top) / box.height * height, (event.clientX - box.left) / box.width * width]);
  };
  picture.addEventListener("pointermove", place);
  picture.addEventListener("pointerdown", place);
  picture.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") leave(); });
  picture.addEventListener("keydown", (event) => {
    const step = shorter / 20;
    const by = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[event.key];
    const size = { "+": 4, "=": 4, "-": -4 }[event.key];
    if (event.key === "Escape" && at) leave();
    else if (by) move(at ? [at[0] + by[0], at[1] + by[1]] : [height / 2, width / 2]);
    else if (size) { slider.value = String(Number(slider.value) + size); if (at) move(at); } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { control: el("label", { class: "hides-size", for: "hides" }, "Hides", slider) };
}

/** What counts everywhere: the occlusion map, as it grows. @param {Asking} asking @param {HTMLCanvasElement} heat @param {HTMLElement} told */
function counting(asking, heat, told) {
  /** @type {AbortController | null} */
  let going = null;
  const usual = "What counts in it?";
  const button = el("button", { type: "button", onclick: () => {
    if (going) return stop();
    going = new AbortController();
    button.textContent = "Take away";
    grown(asking, heat, told, going.signal).catch((error) => { if (!going?.signal.aborted) told.textContent = error.message; });
  } }, usual);
  function stop() {
    going?.abort();
    going = null;
    heat.hidden = true;
    button.textContent = usual;
    told.textContent = "";
  }
  whenGone(button, stop);
  return el("p", {}, button);
}

/** @param {Asking} asking @param {HTMLCanvasElement} heat @param {HTMLElement} told @param {AbortSignal} signal */
async function grown(asking, heat, told, signal) {
  const [height, width] = asking.service.input;
  const response = await asking.question("occlusion", [], signal);
  const context = /** @type {CanvasRenderingContext2D} */ (heat.getContext("2d"));
  /** @type {any} */
  let begun = null;
  /** @type {number[][]} row, column, and what of the class's probability is lost there */
  const places = [];
  for await (const line of linesOf(response)) {
    if (line.error) throw new Error(line.error);
    if (line.kind === "begun") {
      begun = line;
      const { tops, lefts, occluder } = line;
      [heat.width, heat.height] = [lefts.length, tops.length];
      const lay = (/** @type {number[]} */ all, /** @type {number} */ side) => {
        const step = (all[all.length - 1] - all[0]) / Math.max(1, all.length - 1) || side;
        return [`${100 * (all[0] + (occluder - step) / 2) / side}%`, `${100 * step * all.length / side}%`];
      };
      const [left, wide] = lay(lefts, width);
      const [top, high] = lay(tops, height);
      Object.assign(heat.style, { left, top, width: wide, height: high });
      heat.hidden = false;
      continue;
    }
    line.row.forEach((/** @type {number} */ row, /** @type {number} */ i) => places.push([row, line.column[i], begun.probability - line.probability[i]]));
    const most = Math.max(...places.map(([, , lost]) => lost));
    context.clearRect(0, 0, heat.width, heat.height);
    for (const [row, column, lost] of places) {
      context.fillStyle = `rgb(240 110 40 / ${Math.round(85 * Math.max(0, lost) / Math.max(most, FAINT))}%)`;
      context.fillRect(column, row, 1, 1);
    }
    const all = begun.tops.length * begun.lefts.length;
    told.textContent = places.length < all ? `${count(places.length)} of ${count(all)} places`
      : `Where hiding a square of ${begun.occluder} pixels costs ${begun.name} most: from ${percent(begun.probability)} to ${percent(begun.probability - most)}.`;
  }
}

/** The lines of JSON of a response, as they come. @param {Response} response @returns {AsyncGenerator<any>} */
async function* linesOf(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split("\n");
    rest = lines.pop() || "";
    for (const line of lines) yield JSON.parse(line);
    if (done) return;
  }
}
