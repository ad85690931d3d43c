"use strict";

// A photo's scores compared with those of the other photos, and its losses.

const GROUPS = [
  ["Rendering against the photo, inside the seen face", /^(rendering|identity)\./],
  ["Where the texture comes from", /^shares\./],
  ["Losses at the last step", /^losses\./],
  ["Time and memory", /^(seconds\.|(process_)?peak_memory)/],
  ["Others", /./],
];

function scoresPanel(photo) {
  const keys = Object.keys(photo.figures);
  const placed = new Set();
  const bodies = GROUPS.map(([title, pattern]) => {
    const mine = keys.filter((key) => pattern.test(key) && !placed.has(key));
    mine.forEach((key) => placed.add(key));
    return mine.length
      ? make(
          "tbody",
          {},
          make("tr", {}, make("th", { colspan: 3, scope: "rowgroup" }, title)),
          mine.map((key) => scoreRow(photo, key)),
        )
      : null;
  });
  return panel(
    "Scores",
    make(
      "p",
      { class: "quiet" },
      run.photos.length > 1
        ? "Each scale shows all photos of this experiment, from the lowest to the highest value."
        : "This experiment has only one photo to compare.",
    ),
    make("div", { class: "scroll" }, make("table", { class: "scores" }, bodies)),
  );
}

function scoreRow(photo, key) {
  const { label, better } = describe(key);
  const value = photo.figures[key];
  const all = run.photos
    .map((other) => other.figures[key])
    .filter((other) => other !== undefined)
    .sort((a, b) => a - b);
  const [low, high] = [all[0], all[all.length - 1]];
  const x = (number) => (high > low ? 4 + (192 * (number - low)) / (high - low) : 100);
  const place = all.length - all.lastIndexOf(value);
  const words = all.length > 1 && better ? `, place ${place} of ${all.length}` : "";
  const strip = make(
    "svg",
    {
      viewBox: "0 0 200 18",
      class: "strip",
      role: "img",
      "aria-label": `${shown(key, value)}, among ${all.length} from ${shown(key, low)} to ${shown(key, high)}${words}`,
    },
    make("title", {}, `${shown(key, low)} to ${shown(key, high)}${words}`),
    make("line", { x1: 4, x2: 196, y1: 9, y2: 9, class: "axis" }),
    make("path", { d: all.map((number) => `M${x(number).toFixed(1)} 4v10`).join(""), class: "other" }),
    make("circle", { cx: x(value), cy: 9, r: 4.5, class: "mine" }),
  );
  return make(
    "tr",
    {},
    make("td", {}, label, better ? make("span", { class: "quiet" }, ` ${better} is better`) : null),
    make("td", { class: "number" }, shown(key, value)),
    make("td", {}, all.length > 1 ? strip : null),
  );
}

function samePart(entry, other) {
  return ["stage", "transfer", "scale"].every((key) => entry[key] === other[key]);
}

function lossesPanel(detail) {
  const curve = detail.losses || [];
  const names = [...new Set(curve.flatMap(Object.keys))].filter(
    (name) => !["stage", "transfer", "scale", "step"].includes(name) && curve.some((entry) => entry[name] > 0),
  );
  if (curve.length < 2 || !names.length)
    return panel("Losses", make("p", { class: "quiet" }, "No losses were recorded."));
  const values = curve.flatMap((entry) => names.map((name) => entry[name])).filter((value) => value > 0);
  const [low, high] = [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))];
  const steps = curve.map((entry) => entry.step);
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const [left, right, top, bottom] = [44, 508, 10, 250];
  const x = (step) => left + ((right - left) * (step - first)) / (last - first || 1);
  const y = (value) => bottom - ((bottom - top) * (Math.log10(value) - low)) / (high - low || 1);
  const grid = [];
  for (let power = low; power <= high; power++) {
    grid.push(
      make("line", { x1: left, x2: right, y1: y(10 ** power), y2: y(10 ** power), class: "axis" }),
      make(
        "text",
        { x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" },
        power < -2 ? `1e${power}` : String(Number((10 ** power).toPrecision(1))),
      ),
    );
  }
  // A new stage, transfer or scale changes the terms and their weights.
  const stages = curve.filter((entry, i) => i && !samePart(entry, curve[i - 1]));
  const borders = stages.map((entry) =>
    make("line", { x1: x(entry.step), x2: x(entry.step), y1: top, y2: bottom, class: "border" }),
  );
  const lines = names.map((name, number) => {
    let path = "";
    let former = null;
    for (const entry of curve) {
      const value = entry[name];
      if (!(value > 0)) {
        former = null;
        continue;
      }
      const joined = former && samePart(entry, former);
      path += `${joined ? "L" : "M"}${x(entry.step).toFixed(1)} ${y(value).toFixed(1)}`;
      former = entry;
    }
    return make("path", { d: path, class: `curve c${number % 6}` });
  });
  const summary = names
    .map((name) => {
      const own = curve.map((entry) => entry[name]).filter((value) => value > 0);
      return `${name.replaceAll("_", " ")} from ${own[0].toPrecision(2)} to ${own[own.length - 1].toPrecision(2)}`;
    })
    .join("; ");
  return panel(
    "Losses",
    make(
      "svg",
      {
        viewBox: "0 0 520 280",
        class: "chart",
        role: "img",
        "aria-label": `Losses over ${last} steps, logarithmic: ${summary}`,
      },
      grid,
      borders,
      lines,
      make("text", { x: left, y: 270 }, `step ${first}`),
      make("text", { x: right, y: 270, "text-anchor": "end" }, `step ${last}`),
    ),
    make(
      "ul",
      { class: "legend" },
      names.map((name, number) =>
        make(
          "li",
          {},
          make("span", { class: `swatch c${number % 6}`, "aria-hidden": "true" }),
          name.replaceAll("_", " "),
        ),
      ),
    ),
    make(
      "p",
      { class: "quiet" },
      "All terms except the total are unweighted. Dashed lines mark changes of the texture size or of the terms.",
    ),
    detail.notes?.length
      ? folded(
          "Notes of the run",
          make(
            "ul",
            {},
            detail.notes.map((note) => make("li", {}, note)),
          ),
        )
      : null,
  );
}
