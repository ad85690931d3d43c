"use strict";

// The report's two views: all photos, and one of them. What comes from files is only ever set as text, by `make`.

const read = (id) => {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
};
const run = read("run");
const app = document.getElementById("app");

const SCORES = {
  "rendering.psnr": { label: "PSNR of the rendering", short: "PSNR", unit: " dB", digits: 1, better: "higher" },
  "rendering.ssim": { label: "SSIM of the rendering", short: "SSIM", digits: 4, better: "higher" },
  "rendering.pixels": { label: "Pixels compared", digits: 0 },
  "identity.arcface": { label: "Identity, ArcFace", short: "Identity", digits: 3, better: "higher" },
  "seconds.all": { label: "Time of the refinement", unit: " s", digits: 1 },
  peak_memory_mb: { label: "Peak memory", unit: " MB", digits: 0 },
};
const GROUPS = [
  ["Rendering against the photo, inside the seen face", /^(rendering|identity)\./],
  ["Where the texture comes from", /^shares\./],
  ["Losses at the last step", /^losses\./],
  ["Time and memory", /^(seconds\.|peak_memory)/],
  ["Others", /./],
];
const STATUS = { done: "done", skipped: "done earlier", failed: "failed" };
const PICTURES = {
  sampled: ["Sampled", "what the photo shows; black where it shows nothing"],
  visibility: ["Visibility", "how surely it shows it: white is sure"],
  initial: ["Initial", "completed, before the refinement"],
  refined: ["Refined", "the result"],
  provenance: ["Provenance", "where each colour comes from"],
};

// An element. Attributes go by name; `on...` are listeners; children are elements and texts.
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "circle", "title", "g"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  const present = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...present.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

function describe(key) {
  const share = key.startsWith("shares.");
  const words = key.replace(/^[a-z]+\./, "").replaceAll("_", " ");
  return { label: words[0].toUpperCase() + words.slice(1), digits: null, share, seconds: key.startsWith("seconds."), ...SCORES[key] };
}

function shown(key, value) {
  if (value === undefined || value === null) return "–";
  const { digits, unit = "", share, seconds } = describe(key);
  if (share) return `${(100 * value).toFixed(1)} %`;
  if (seconds) return `${value.toFixed(1)} s`;
  if (digits !== null) return value.toFixed(digits) + unit;
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const isFailed = (photo) => photo.status === "failed";
const chip = (photo) => make("span", { class: `chip ${isFailed(photo) ? "bad" : "good"}` }, STATUS[photo.status] || photo.status);
const dataPicture = (src) => (String(src).startsWith("data:image/") ? src : "");

// ---- all photos ------------------------------------------------------------------------------------------------------

const state = { search: "", status: "all", sort: "order", descending: false, scroll: 0 };

function overview() {
  const failed = run.photos.filter(isFailed).length;
  const mean = (key) => {
    const values = run.photos.map((photo) => photo.figures[key]).filter((value) => value !== undefined);
    return values.length ? shown(key, values.reduce((a, b) => a + b) / values.length) : "–";
  };
  const total = run.photos.reduce((sum, photo) => sum + photo.seconds, 0);
  const tiles = [
    ["Photos", `${run.photos.length - failed} of ${run.photos.length} done`],
    ["Mean PSNR", mean("rendering.psnr")],
    ["Mean SSIM", mean("rendering.ssim")],
    ["Time", total < 120 ? `${total.toFixed(0)} s` : `${(total / 60).toFixed(0)} min`],
    ["Config", `${run.config ?? "–"}, seed ${run.seed ?? "–"}`],
  ];
  const cards = make("ul", { class: "cards", id: "cards" });
  const count = make("p", { class: "quiet", role: "status" });
  const scores = Object.keys(SCORES).filter((key) => run.photos.some((photo) => photo.figures[key] !== undefined));
  const options = [["order", "As processed"], ["name", "Name"], ["status", "Status"], ["seconds", "Time"]].concat(scores.filter((key) => key !== "seconds.all").map((key) => [key, describe(key).label]));
  const update = () => {
    const list = chosen();
    cards.replaceChildren(...list.map(card));
    count.textContent = list.length === run.photos.length ? `${list.length} photos` : `${list.length} of ${run.photos.length} photos`;
  };
  const choice = (key, value) => () => {
    state[key] = value;
    update();
    for (const button of document.querySelectorAll("#status button")) button.setAttribute("aria-pressed", button.dataset.status === state.status);
  };
  const direction = make("button", { type: "button", "aria-label": "Turn the order round", title: "Turn the order round", onclick: () => { state.descending = !state.descending; direction.textContent = state.descending ? "↓" : "↑"; update(); } }, state.descending ? "↓" : "↑");
  app.replaceChildren(
    header(),
    make("main", {},
      make("dl", { class: "tiles" }, tiles.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
      make("form", { class: "toolbar", onsubmit: (event) => event.preventDefault() },
        make("label", { class: "grow" }, make("span", { class: "hidden" }, "Search by name or message"),
          make("input", { type: "search", placeholder: "Search", value: state.search, oninput: (event) => { state.search = event.target.value; update(); } })),
        make("div", { class: "segments", id: "status", role: "group", "aria-label": "Show" },
          [["all", `All ${run.photos.length}`], ["done", `Done ${run.photos.length - failed}`], ["failed", `Failed ${failed}`]].map(([value, label]) =>
            make("button", { type: "button", "data-status": value, "aria-pressed": String(state.status === value), onclick: choice("status", value) }, label))),
        make("label", {}, make("span", { class: "hidden" }, "Sort by"),
          make("select", { onchange: (event) => { state.sort = event.target.value; state.descending = event.target.value.includes("."); direction.textContent = state.descending ? "↓" : "↑"; update(); } },
            options.map(([value, label]) => make("option", { value, selected: value === state.sort }, `Sort: ${label}`)))),
        direction),
      count,
      cards,
      limitNote(),
      aboutRun()),
    footer());
  update();
  document.title = `${run.name} - FaceRefiner`;
}

function chosen() {
  const words = state.search.toLowerCase();
  const value = (photo) => ({ name: photo.name, status: photo.status, seconds: photo.seconds })[state.sort] ?? photo.figures[state.sort];
  const list = run.photos.filter((photo) =>
    (state.status === "all" || isFailed(photo) === (state.status === "failed")) && `${photo.name}\n${photo.message}`.toLowerCase().includes(words));
  if (state.sort === "order") return state.descending ? list.reverse() : list;
  const order = state.descending ? -1 : 1;
  return list.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return order * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
  });
}

function card(photo) {
  const scores = ["rendering.psnr", "rendering.ssim"].filter((key) => photo.figures[key] !== undefined);
  const content = [
    photo.picture
      ? make("img", { src: dataPicture(photo.picture), alt: `${photo.name}: the photo, and the head turned to its right`, width: 512, height: 256, loading: "lazy", decoding: "async" })
      : make("div", { class: "no-picture" }, isFailed(photo) ? "no result" : "see its folder"),
    make("div", { class: "card-text" },
      make("div", { class: "card-head" }, make("h2", {}, photo.name), chip(photo)),
      photo.message ? make("p", { class: "message" }, photo.message) : null,
      make("p", { class: "numbers" },
        scores.map((key) => make("span", {}, make("b", {}, shown(key, photo.figures[key])), ` ${describe(key).short}`)),
        make("span", {}, make("b", {}, `${photo.seconds.toFixed(1)} s`)))),
  ];
  const number = run.photos.indexOf(photo);
  return make("li", {}, photo.has_results ? make("a", { class: "card", href: `#photo-${number}` }, content) : make("div", { class: "card" }, content));
}

function limitNote() {
  const results = run.photos.filter((photo) => photo.has_results).length;
  if (results <= run.embedded) return null;
  return make("p", { class: "notice" }, `To stay small, this page holds all pictures and the 3D view of the first ${run.embedded} of ${results} photos. ` +
    "The others have their scores here, and their pictures in their folders beside this file.");
}

function header() {
  const when = run.started ? `${run.started.slice(0, 10)}, ${run.started.slice(11, 16)}` : "";
  const devices = [...new Set(Object.values(run.device || {}))].join(", ");
  return make("header", { class: "top" },
    make("div", {}, make("p", { class: "brand" }, "FaceRefiner"), make("h1", {}, run.name)),
    make("p", { class: "quiet" }, [when, devices && `on ${devices}`].filter(Boolean).join(" ")));
}

function footer() {
  return make("footer", { class: "quiet" }, `Made on ${run.made}. This file needs nothing else to be looked at; its download links work where it lies, in the folder of the run.`);
}

function aboutRun() {
  const software = run.software || {};
  const packages = Object.entries(software.packages || {}).map(([name, version]) => `${name} ${version ?? "not installed"}`);
  return make("section", { class: "panel" },
    make("h2", {}, "This run"),
    command(run.command),
    make("dl", { class: "pairs" }, [["Features", run.features], ["Renderer", run.renderer], ["Python", software.python], ["System", software.platform]]
      .filter(([, value]) => value).map(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value).replace(/^(features|renderer): /, ""))])),
    folded("Settings", make("pre", { tabindex: "0" }, run.settings || "not known")),
    folded("Assets and licences", assets()),
    folded("Versions of packages", make("p", {}, packages.join(", "))));
}

function assets() {
  const warning = (run.non_commercial || []).length
    ? make("p", { class: "notice" }, `Not for commercial use, because of: ${run.non_commercial.join(", ")}.`) : null;
  const rows = (run.assets || []).map((asset) => make("tr", {}, ["name", "licence", "origin"].map((key) => make("td", {}, asset[key] ?? ""))));
  return make("div", { class: "scroll", tabindex: "0" }, warning, make("table", {}, make("thead", {}, make("tr", {}, ["Asset", "Licence", "From"].map((word) => make("th", { scope: "col" }, word)))), make("tbody", {}, rows)));
}

const folded = (title, ...content) => make("details", {}, make("summary", {}, title), ...content);

function command(text) {
  if (!text) return make("p", { class: "quiet" }, "The command was not recorded.");
  const button = make("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // pages from disk may not write to the clipboard: the user can
      button.textContent = "Selected";
    }
  } }, "Copy");
  const code = make("code", {}, text);
  return make("div", { class: "command" }, make("pre", { tabindex: "0" }, code), button);
}

// ---- one photo -------------------------------------------------------------------------------------------------------

let viewer = null;

function photoView(number) {
  const photo = run.photos[number];
  const detail = read(`photo-${number}`);
  const images = detail.images;
  const beside = (step) => {
    let other = number + step;
    while (run.photos[other] && !run.photos[other].has_results) other += step;
    return run.photos[other] ? make("a", { class: "button", href: `#photo-${other}`, rel: step < 0 ? "prev" : "next", "aria-label": step < 0 ? "Previous photo" : "Next photo" }, step < 0 ? "←" : "→") : null;
  };
  const title = make("h1", { tabindex: "-1" }, photo.name);
  app.replaceChildren(
    make("header", { class: "top" },
      make("div", {}, make("a", { class: "brand", href: "#" }, "← All photos"), make("div", { class: "card-head" }, title, chip(photo))),
      make("nav", { "aria-label": "Photos" }, beside(-1), beside(1))),
    make("main", {},
      photo.message ? make("p", { class: "notice bad" }, isFailed(photo) ? `The last run failed on it, what is shown is older: ${photo.message}` : photo.message) : null,
      images
        ? [make("div", { class: "two" }, headPanel(photo, detail), comparePanel(photo, images)), texturesPanel(photo, detail)]
        : make("p", { class: "notice" }, `To stay small, this page does not hold the pictures of this photo: they lie beside it, in the folder ${photo.name}`),
      make("div", { class: "two" }, scoresPanel(photo), make("div", { class: "column" }, lossesPanel(detail), repeatPanel(photo, detail)))),
    footer());
  document.title = `${photo.name} - ${run.name} - FaceRefiner`;
  startViewer(detail);
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function headPanel(photo, detail) {
  const set = (change) => () => viewer?.set(typeof change === "function" ? change(viewer.view) : change);
  const key = (label, title, change) => make("button", { type: "button", "aria-label": title, title, onclick: set(change) }, label);
  const texture = (name, label) => make("button", { type: "button", "data-texture": name, "aria-pressed": String(name === "refined"), onclick: (event) => {
    viewer?.set({ texture: name });
    for (const button of event.target.parentNode.children) button.setAttribute("aria-pressed", String(button === event.target));
  } }, label);
  const toggle = (name, label) => make("button", { type: "button", "aria-pressed": "false", "data-toggle": name, onclick: (event) => {
    viewer?.set({ [name]: !viewer[name] });
    event.target.setAttribute("aria-pressed", String(viewer?.[name] ?? false));
  } }, label);
  return make("section", { class: "panel" },
    make("h2", {}, "The head"),
    make("div", { id: "viewer" },
      make("canvas", { id: "head", tabindex: "0", role: "application", "aria-roledescription": "3D view", "aria-label": `The head of ${photo.name} in 3D. Arrow keys turn it, plus and minus zoom, with shift the arrow keys move it, 0 resets.` }),
      make("div", { class: "controls" },
        make("div", { class: "segments", role: "group", "aria-label": "Texture" }, texture("initial", "Initial"), texture("refined", "Refined")),
        toggle("light", "Light"), toggle("wireframe", "Wireframe"),
        make("div", { class: "segments", role: "group", "aria-label": "Turn and zoom" },
          key("←", "Turn to the left", (v) => ({ yaw: v.yaw - 15 })), key("→", "Turn to the right", (v) => ({ yaw: v.yaw + 15 })),
          key("↑", "Tilt up", (v) => ({ pitch: v.pitch - 10 })), key("↓", "Tilt down", (v) => ({ pitch: v.pitch + 10 })),
          key("+", "Zoom in", (v) => ({ zoom: v.zoom * 1.25 })), key("−", "Zoom out", (v) => ({ zoom: v.zoom / 1.25 }))),
        make("button", { type: "button", onclick: () => viewer?.reset() }, "Reset"),
        make("button", { type: "button", onclick: () => viewer && make("a", { href: viewer.picture(), download: `${photo.name}_view.png` }).click() }, "Save picture")),
      make("p", { class: "quiet" }, "Drag to turn; click on it and the wheel zooms, with shift a drag moves it. Touch: one finger turns, two zoom and move.")),
    make("figure", { id: "fallback", hidden: true },
      picture(detail.images.turned, `The head of ${photo.name}, turned by 45 degrees to its right and to its left`),
      make("figcaption", { class: "quiet" }, "")));
}

function startViewer(detail) {
  viewer?.dispose();
  viewer = null;
  const canvas = document.getElementById("head");
  if (!canvas) return;
  const fallBack = (reason) => {
    viewer = null;
    document.getElementById("viewer").hidden = true;
    const figure = document.getElementById("fallback");
    figure.hidden = false;
    figure.querySelector("figcaption").textContent = reason;
  };
  if (!detail.mesh) return fallBack(`A picture instead of the 3D view: ${detail.mesh_left_out || "no mesh was found"}.`);
  const mesh = unpackMesh(detail.mesh, read(`layout-${detail.mesh.layout}`));
  const made = makeViewer(canvas, mesh, () => viewer === made && fallBack("A picture instead of the 3D view: the graphics card was taken away. Load the page again."));
  if (!made) return fallBack("A picture instead of the 3D view: this browser shows no WebGL 2.");
  viewer = made;
  canvas.viewer = made;
  for (const name of ["refined", "initial"]) {
    if (!detail.images[name]) continue;
    const image = new Image();
    image.onload = () => {
      if (viewer !== made) return;
      made.addTexture(name, image);
      made.set(name === "refined" ? { texture: name } : {});
    };
    image.src = dataPicture(detail.images[name].src);
  }
}

const picture = (image, alt) => make("img", { src: dataPicture(image.src), width: image.width, height: image.height, alt });

function comparePanel(photo, images) {
  const pairs = [
    ["Photo and rendering", ["photo", "Photo"], ["rendering", "Rendering over the photo"]],
    ["Initial and refined", ["initial", "Initial texture"], ["refined", "Refined texture"]],
  ].filter(([, before, after]) => images[before[0]] && images[after[0]]);
  const place = make("div", {});
  const show = ([, before, after]) => {
    const over = picture(images[before[0]], `${photo.name}: ${before[1].toLowerCase()}`);
    over.classList.add("over");
    const line = make("div", { class: "line" });
    const frame = make("div", { class: "slider" },
      picture(images[after[0]], `${photo.name}: ${after[1].toLowerCase()}`), over, line,
      make("span", { class: "tag left" }, before[1]), make("span", { class: "tag right" }, after[1]),
      make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": `How much is shown of: ${before[1]}`, oninput: (event) => slide(event.target.value) }));
    const slide = (percent) => {
      over.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
      line.style.left = `${percent}%`;
    };
    slide(50);
    place.replaceChildren(frame);
  };
  const buttons = pairs.map((pair, number) => make("button", { type: "button", "aria-pressed": String(number === 0), onclick: () => {
    buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === number)));
    show(pair);
  } }, pair[0]));
  show(pairs[0]);
  return make("section", { class: "panel" }, make("h2", {}, "Before and after"), make("div", { class: "controls first" }, make("div", { class: "segments", role: "group", "aria-label": "Pictures" }, buttons)), place);
}

function texturesPanel(photo, detail) {
  const enlarge = (image, alt, title) => () => {
    const dialog = make("dialog", { class: "enlarged", "aria-label": title, onclose: () => dialog.remove(), onclick: () => dialog.close() },
      picture(image, alt), make("form", { method: "dialog" }, make("button", {}, "Close")));
    app.append(dialog);
    dialog.showModal();
  };
  const figures = Object.entries(PICTURES).filter(([name]) => detail.images[name]).map(([name, [title, text]]) => {
    const alt = `${title} texture of ${photo.name}: ${text}`;
    return make("figure", {},
      make("button", { type: "button", class: "plain", title: "Enlarge", onclick: enlarge(detail.images[name], alt, title) }, picture(detail.images[name], alt)),
      make("figcaption", {}, make("b", {}, title), ` ${text}`, name === "provenance" ? legend(detail.shares) : null));
  });
  return make("section", { class: "panel" }, make("h2", {}, "Textures"), make("div", { class: "textures" }, figures));
}

function legend(shares) {
  return make("ul", { class: "legend" }, Object.entries(run.legend).filter(([name]) => shares?.[name] !== undefined).map(([name, { colour, text }]) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = `rgb(${colour.join(" ")})`;
    return make("li", { title: text }, swatch, `${name} ${(100 * shares[name]).toFixed(0)} %`);
  }));
}

function scoresPanel(photo) {
  const keys = Object.keys(photo.figures);
  const placed = new Set();
  const bodies = GROUPS.map(([title, pattern]) => {
    const mine = keys.filter((key) => pattern.test(key) && !placed.has(key));
    mine.forEach((key) => placed.add(key));
    return mine.length ? make("tbody", {}, make("tr", {}, make("th", { colspan: 3, scope: "rowgroup" }, title)), mine.map((key) => scoreRow(photo, key))) : null;
  });
  return make("section", { class: "panel" }, make("h2", {}, "Scores"),
    make("p", { class: "quiet" }, run.photos.length > 1 ? "Behind each, all photos of this experiment, from the least to the greatest." : "The experiment has one photo, so there is nothing to hold it against."),
    make("div", { class: "scroll" }, make("table", { class: "scores" }, bodies)));
}

function scoreRow(photo, key) {
  const { label, better } = describe(key);
  const value = photo.figures[key];
  const all = run.photos.map((other) => other.figures[key]).filter((other) => other !== undefined).sort((a, b) => a - b);
  const [low, high] = [all[0], all[all.length - 1]];
  const x = (number) => (high > low ? 4 + (192 * (number - low)) / (high - low) : 100);
  const place = all.length - all.lastIndexOf(value);
  const words = all.length > 1 && better ? `, place ${place} of ${all.length}` : "";
  const strip = make("svg", { viewBox: "0 0 200 18", class: "strip", role: "img", "aria-label": `${shown(key, value)}, among ${all.length} from ${shown(key, low)} to ${shown(key, high)}${words}` },
    make("title", {}, `${shown(key, low)} to ${shown(key, high)}${words}`),
    make("line", { x1: 4, x2: 196, y1: 9, y2: 9, class: "axis" }),
    make("path", { d: all.map((number) => `M${x(number).toFixed(1)} 4v10`).join(""), class: "other" }),
    make("circle", { cx: x(value), cy: 9, r: 4.5, class: "mine" }));
  return make("tr", {}, make("td", {}, label, better ? make("span", { class: "quiet" }, ` ${better} is better`) : null), make("td", { class: "number" }, shown(key, value)), make("td", {}, all.length > 1 ? strip : null));
}

function lossesPanel(detail) {
  const curve = detail.losses || [];
  const names = [...new Set(curve.flatMap(Object.keys))].filter((name) => !["transfer", "scale", "step"].includes(name) && curve.some((entry) => entry[name] > 0));
  const panel = make("section", { class: "panel" }, make("h2", {}, "Losses"));
  if (curve.length < 2 || !names.length) {
    panel.append(make("p", { class: "quiet" }, "No losses were recorded."));
    return panel;
  }
  const values = curve.flatMap((entry) => names.map((name) => entry[name])).filter((value) => value > 0);
  const [low, high] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))];
  const steps = curve.map((entry) => entry.step);
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const [left, right, top, bottom] = [44, 508, 10, 250];
  const x = (step) => left + ((right - left) * (step - first)) / (last - first || 1);
  const y = (value) => bottom - ((bottom - top) * (Math.log10(value) - low)) / (high - low || 1);
  const grid = [];
  for (let power = low; power <= high; power++) {
    grid.push(make("line", { x1: left, x2: right, y1: y(10 ** power), y2: y(10 ** power), class: "axis" }), make("text", { x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, power < -2 ? `1e${power}` : String(Number((10 ** power).toPrecision(1)))));
  }
  // Where size or transfer change, so do the terms and their weights.
  const stages = curve.filter((entry, i) => i && (entry.scale !== curve[i - 1].scale || entry.transfer !== curve[i - 1].transfer));
  const borders = stages.map((entry) => make("line", { x1: x(entry.step), x2: x(entry.step), y1: top, y2: bottom, class: "border" }));
  const lines = names.map((name, number) => {
    let path = "";
    let former = null;
    for (const entry of curve) {
      const value = entry[name];
      if (!(value > 0)) { former = null; continue; }
      const joined = former && former.scale === entry.scale && former.transfer === entry.transfer;
      path += `${joined ? "L" : "M"}${x(entry.step).toFixed(1)} ${y(value).toFixed(1)}`;
      former = entry;
    }
    return make("path", { d: path, class: `curve c${number % 6}` });
  });
  const summary = names.map((name) => {
    const own = curve.map((entry) => entry[name]).filter((value) => value > 0);
    return `${name.replaceAll("_", " ")} from ${own[0].toPrecision(2)} to ${own[own.length - 1].toPrecision(2)}`;
  }).join("; ");
  panel.append(
    make("svg", { viewBox: "0 0 520 280", class: "chart", role: "img", "aria-label": `Losses over ${last} steps, logarithmic: ${summary}` }, grid, borders, lines,
      make("text", { x: left, y: 270 }, `step ${first}`), make("text", { x: right, y: 270, "text-anchor": "end" }, `step ${last}`)),
    make("ul", { class: "legend" }, names.map((name, number) => make("li", {}, make("span", { class: `swatch c${number % 6}`, "aria-hidden": "true" }), name.replaceAll("_", " ")))),
    make("p", { class: "quiet" }, "Unweighted but for the total; a dashed line where the size changes, or the terms."));
  if (detail.notes?.length) panel.append(folded("Notes of the run", make("ul", {}, detail.notes.map((note) => make("li", {}, note)))));
  return panel;
}

function repeatPanel(photo, detail) {
  const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  return make("section", { class: "panel" },
    make("h2", {}, "Files, and how to make them again"),
    make("ul", { class: "files" }, detail.files.map((file) => make("li", {}, make("a", { class: "button", href: file.href, download: file.name.startsWith(photo.name) ? file.name : `${photo.name}_${file.name}` }, `${file.label} `, make("span", { class: "quiet" }, size(file.bytes)))))),
    make("h3", {}, "Command"),
    command(detail.command),
    make("dl", { class: "pairs" }, [["Seed", /^seed: (.*)$/m.exec(detail.settings)?.[1]], ["Features", detail.features]].filter(([, value]) => value).map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    folded("All settings", make("pre", { tabindex: "0" }, detail.settings || "not known")),
    folded("Assets and licences", assets()));
}

// ---- which view ------------------------------------------------------------------------------------------------------

function route() {
  const number = /^#photo-(\d+)$/.exec(location.hash)?.[1];
  document.querySelector("dialog")?.close();
  if (number !== undefined && run.photos[number]?.has_results) {
    if (!viewer && document.getElementById("cards")) state.scroll = scrollY;
    photoView(Number(number));
  } else {
    viewer?.dispose();
    viewer = null;
    overview();
    scrollTo(0, state.scroll);
  }
}

addEventListener("hashchange", route);
route();
