"use strict";

// Elements that both views of the report use. `make` sets everything that comes from files as text, never as HTML.

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
  process_peak_memory_mb: { label: "Peak memory of the process", unit: " MB", digits: 0 },
};

const STATUS = { done: "done", skipped: "done earlier", failed: "failed" };

// Creates an element. attributes: by name, `on...` are event listeners. children: elements and texts.
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
  return {
    label: words[0].toUpperCase() + words.slice(1),
    digits: null,
    share,
    seconds: key.startsWith("seconds."),
    ...SCORES[key],
  };
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
const chip = (photo) =>
  make("span", { class: `chip ${isFailed(photo) ? "bad" : "good"}` }, STATUS[photo.status] || photo.status);
const dataPicture = (src) => (String(src).startsWith("data:image/") ? src : "");

function assets() {
  const warning = (run.non_commercial || []).length
    ? make("p", { class: "notice" }, `Non-commercial use only, because of: ${run.non_commercial.join(", ")}.`)
    : null;
  const rows = (run.assets || []).map((asset) =>
    make(
      "tr",
      {},
      ["name", "licence", "origin"].map((key) => make("td", {}, asset[key] ?? "")),
    ),
  );
  return make(
    "div",
    { class: "scroll", tabindex: "0" },
    warning,
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ["Asset", "Licence", "From"].map((word) => make("th", { scope: "col" }, word)),
        ),
      ),
      make("tbody", {}, rows),
    ),
  );
}

const panel = (title, ...content) => make("section", { class: "panel" }, make("h2", {}, title), ...content);

// A list of names and values, [[name, value], ...]; entries without a value are omitted.
const pairs = (entries) =>
  make(
    "dl",
    { class: "pairs" },
    entries
      .filter(([, value]) => value)
      .map(([name, value]) => [
        make("dt", {}, name),
        make("dd", {}, String(value).replace(/^(features|renderer): /, "")),
      ]),
  );

const folded = (title, ...content) => make("details", {}, make("summary", {}, title), ...content);

function command(text) {
  if (!text) return make("p", { class: "quiet" }, "The command was not recorded.");
  const button = make(
    "button",
    {
      type: "button",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(code); // pages from disk may not write to the clipboard; the user can copy
          button.textContent = "Selected";
        }
      },
    },
    "Copy",
  );
  const code = make("code", {}, text);
  return make("div", { class: "command" }, make("pre", { tabindex: "0" }, code), button);
}

function footer() {
  return make(
    "footer",
    { class: "quiet" },
    `Made on ${run.made}. This page is self-contained; `,
    "its download links work only while it is in the folder of the run.",
  );
}

const picture = (image, alt) =>
  make("img", { src: dataPicture(image.src), width: image.width, height: image.height, alt });
