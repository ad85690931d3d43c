"use strict";

// All photos of the run: sorting, filtering, and a summary of the run.

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
  const options = [
    ["order", "As processed"],
    ["name", "Name"],
    ["status", "Status"],
    ["seconds", "Time"],
  ].concat(scores.filter((key) => key !== "seconds.all").map((key) => [key, describe(key).label]));
  const update = () => {
    const list = chosen();
    cards.replaceChildren(...list.map(card));
    count.textContent =
      list.length === run.photos.length ? `${list.length} photos` : `${list.length} of ${run.photos.length} photos`;
  };
  const choice = (key, value) => () => {
    state[key] = value;
    update();
    for (const button of document.querySelectorAll("#status button"))
      button.setAttribute("aria-pressed", button.dataset.status === state.status);
  };
  const direction = make(
    "button",
    {
      type: "button",
      "aria-label": "Reverse the order",
      title: "Reverse the order",
      onclick: () => {
        state.descending = !state.descending;
        direction.textContent = state.descending ? "↓" : "↑";
        update();
      },
    },
    state.descending ? "↓" : "↑",
  );
  app.replaceChildren(
    header(),
    make(
      "main",
      {},
      make(
        "dl",
        { class: "tiles" },
        tiles.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
      ),
      make(
        "form",
        { class: "toolbar", onsubmit: (event) => event.preventDefault() },
        make(
          "label",
          { class: "grow" },
          make("span", { class: "hidden" }, "Search by name or message"),
          make("input", {
            type: "search",
            placeholder: "Search",
            value: state.search,
            oninput: (event) => {
              state.search = event.target.value;
              update();
            },
          }),
        ),
        make(
          "div",
          { class: "segments", id: "status", role: "group", "aria-label": "Show" },
          [
            ["all", `All ${run.photos.length}`],
            ["done", `Done ${run.photos.length - failed}`],
            ["failed", `Failed ${failed}`],
          ].map(([value, label]) =>
            make(
              "button",
              {
                type: "button",
                "data-status": value,
                "aria-pressed": String(state.status === value),
                onclick: choice("status", value),
              },
              label,
            ),
          ),
        ),
        make(
          "label",
          {},
          make("span", { class: "hidden" }, "Sort by"),
          make(
            "select",
            {
              onchange: (event) => {
                state.sort = event.target.value;
                state.descending = event.target.value.includes(".");
                direction.textContent = state.descending ? "↓" : "↑";
                update();
              },
            },
            options.map(([value, label]) =>
              make("option", { value, selected: value === state.sort }, `Sort: ${label}`),
            ),
          ),
        ),
        direction,
      ),
      count,
      cards,
      limitNote(),
      aboutRun(),
    ),
    footer(),
  );
  update();
  document.title = `${run.name} - FaceRefiner`;
}

function chosen() {
  const words = state.search.toLowerCase();
  const value = (photo) =>
    ({ name: photo.name, status: photo.status, seconds: photo.seconds })[state.sort] ?? photo.figures[state.sort];
  const list = run.photos.filter(
    (photo) =>
      (state.status === "all" || isFailed(photo) === (state.status === "failed")) &&
      `${photo.name}\n${photo.message}`.toLowerCase().includes(words),
  );
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
      ? make("img", {
          src: dataPicture(photo.picture),
          alt: `${photo.name}: photo, and head turned to its right`,
          width: 512,
          height: 256,
          loading: "lazy",
          decoding: "async",
        })
      : make("div", { class: "no-picture" }, isFailed(photo) ? "no result" : "pictures in its folder"),
    make(
      "div",
      { class: "card-text" },
      make("div", { class: "card-head" }, make("h2", {}, photo.name), chip(photo)),
      photo.message ? make("p", { class: "message" }, photo.message) : null,
      make(
        "p",
        { class: "numbers" },
        scores.map((key) => make("span", {}, make("b", {}, shown(key, photo.figures[key])), ` ${describe(key).short}`)),
        make("span", {}, make("b", {}, `${photo.seconds.toFixed(1)} s`)),
      ),
    ),
  ];
  const number = run.photos.indexOf(photo);
  return make(
    "li",
    {},
    photo.has_results
      ? make("a", { class: "card", href: `#photo-${number}` }, content)
      : make("div", { class: "card" }, content),
  );
}

function limitNote() {
  const results = run.photos.filter((photo) => photo.has_results).length;
  if (results <= run.embedded) return null;
  return make(
    "p",
    { class: "notice" },
    `To limit its size, this page contains pictures and 3D views of the first ${run.embedded} of ${results} photos. ` +
      "For the other photos it shows the scores; their pictures are in the photos' folders, next to this file.",
  );
}

function header() {
  const when = run.started ? `${run.started.slice(0, 10)}, ${run.started.slice(11, 16)}` : "";
  const devices = [...new Set(Object.values(run.device || {}))].join(", ");
  return make(
    "header",
    { class: "top" },
    make("div", {}, make("p", { class: "brand" }, "FaceRefiner"), make("h1", {}, run.name)),
    make("p", { class: "quiet" }, [when, devices && `on ${devices}`].filter(Boolean).join(" ")),
  );
}

function aboutRun() {
  const software = run.software || {};
  const packages = Object.entries(software.packages || {}).map(
    ([name, version]) => `${name} ${version ?? "not installed"}`,
  );
  return panel(
    "This run",
    command(run.command),
    pairs([
      ["Features", run.features],
      ["Renderer", run.renderer],
      ["Python", software.python],
      ["System", software.platform],
    ]),
    folded("Settings", make("pre", { tabindex: "0" }, run.settings || "unknown")),
    folded("Assets and licences", assets()),
    folded("Package versions", make("p", {}, packages.join(", "))),
  );
}
