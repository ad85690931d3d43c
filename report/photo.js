"use strict";

// One photo: the head, sliders, textures, files.

const PICTURES = {
  sampled: ["Sampled", "colours seen in the photo; black where nothing is seen"],
  visibility: ["Visibility", "per-texel confidence: white is seen, black is not"],
  initial: ["Initial", "completed, before the refinement"],
  refined: ["Refined", "the result"],
  provenance: ["Provenance", "source of each colour"],
};

let viewer = null;

function photoView(number) {
  const photo = run.photos[number];
  const detail = read(`photo-${number}`);
  const images = detail.images;
  const beside = (step) => {
    let other = number + step;
    while (run.photos[other] && !run.photos[other].has_results) other += step;
    return run.photos[other]
      ? make(
          "a",
          {
            class: "button",
            href: `#photo-${other}`,
            rel: step < 0 ? "prev" : "next",
            "aria-label": step < 0 ? "Previous photo" : "Next photo",
          },
          step < 0 ? "←" : "→",
        )
      : null;
  };
  const title = make("h1", { tabindex: "-1" }, photo.name);
  app.replaceChildren(
    make(
      "header",
      { class: "top" },
      make(
        "div",
        {},
        make("a", { class: "brand", href: "#" }, "← All photos"),
        make("div", { class: "card-head" }, title, chip(photo)),
      ),
      make("nav", { "aria-label": "Photos" }, beside(-1), beside(1)),
    ),
    make(
      "main",
      {},
      photo.message
        ? make(
            "p",
            { class: "notice bad" },
            isFailed(photo)
              ? `The last run failed on this photo; the results shown are from an earlier run: ${photo.message}`
              : photo.message,
          )
        : null,
      images
        ? [
            make("div", { class: "two" }, headPanel(photo, detail), comparePanel(photo, images)),
            texturesPanel(photo, detail),
          ]
        : make(
            "p",
            { class: "notice" },
            "To limit its size, this page does not contain the pictures of this photo. ",
            `They are in the folder ${photo.name}, next to this file.`,
          ),
      make(
        "div",
        { class: "two" },
        scoresPanel(photo),
        make("div", { class: "column" }, lossesPanel(detail), repeatPanel(photo, detail)),
      ),
    ),
    footer(),
  );
  document.title = `${photo.name} - ${run.name} - FaceRefiner`;
  startViewer(detail);
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function headPanel(photo, detail) {
  const set = (change) => () => viewer?.set(typeof change === "function" ? change(viewer.view) : change);
  const key = (label, title, change) =>
    make("button", { type: "button", "aria-label": title, title, onclick: set(change) }, label);
  const texture = (name, label) =>
    make(
      "button",
      {
        type: "button",
        "data-texture": name,
        "aria-pressed": String(name === "refined"),
        onclick: (event) => {
          viewer?.set({ texture: name });
          for (const button of event.target.parentNode.children)
            button.setAttribute("aria-pressed", String(button === event.target));
        },
      },
      label,
    );
  const toggle = (name, label) =>
    make(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        "data-toggle": name,
        onclick: (event) => {
          viewer?.set({ [name]: !viewer[name] });
          event.target.setAttribute("aria-pressed", String(viewer?.[name] ?? false));
        },
      },
      label,
    );
  return panel(
    "The head",
    make(
      "div",
      { id: "viewer" },
      make("canvas", {
        id: "head",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "3D view",
        "aria-label":
          `The head of ${photo.name} in 3D. Arrow keys turn it, shift and arrow keys move it, ` +
          "plus and minus zoom, 0 resets the view.",
      }),
      make(
        "div",
        { class: "controls" },
        make(
          "div",
          { class: "segments", role: "group", "aria-label": "Texture" },
          texture("initial", "Initial"),
          texture("refined", "Refined"),
        ),
        toggle("light", "Light"),
        toggle("wireframe", "Wireframe"),
        make(
          "div",
          { class: "segments", role: "group", "aria-label": "Turn and zoom" },
          key("←", "Turn to the left", (v) => ({ yaw: v.yaw - 15 })),
          key("→", "Turn to the right", (v) => ({ yaw: v.yaw + 15 })),
          key("↑", "Tilt up", (v) => ({ pitch: v.pitch - 10 })),
          key("↓", "Tilt down", (v) => ({ pitch: v.pitch + 10 })),
          key("+", "Zoom in", (v) => ({ zoom: v.zoom * 1.25 })),
          key("−", "Zoom out", (v) => ({ zoom: v.zoom / 1.25 })),
        ),
        make("button", { type: "button", onclick: () => viewer?.reset() }, "Reset"),
        make(
          "button",
          {
            type: "button",
            onclick: () => viewer && make("a", { href: viewer.picture(), download: `${photo.name}_view.png` }).click(),
          },
          "Save picture",
        ),
      ),
      detail.face ? faceControls(Object.keys(detail.face.expressions)) : null,
      make(
        "p",
        { class: "quiet" },
        "Drag to turn, shift and drag to move; after a click the wheel zooms. ",
        "Touch: turn with one finger, zoom and move with two.",
      ),
    ),
    make(
      "figure",
      { id: "fallback", hidden: true },
      picture(detail.images.turned, `The head of ${photo.name}, turned by 45 degrees to its right and to its left`),
      make("figcaption", { class: "quiet" }, ""),
    ),
  );
}

// The buttons of a face that moves. One expression at a time; pressed again, it ends.
function faceControls(expressions) {
  const buttons = new Map(); // {button: (face) => whether it is pressed}
  const button = (label, change, isPressed) => {
    const onclick = () => {
      const face = viewer?.face;
      face?.set(change(face));
      for (const [each, pressed] of face ? buttons : []) each.setAttribute("aria-pressed", String(pressed(face)));
    };
    const atFirst = String(label === "As photographed");
    const made = make("button", { type: "button", "aria-pressed": atFirst, onclick }, label);
    buttons.set(made, isPressed);
    return made;
  };
  const rest = (label, photographed) =>
    button(label, () => ({ photographed }), (face) => face.photographed === photographed);
  const expression = (name) =>
    button(
      name,
      (face) => ({ expression: face.expression === name ? "" : name }),
      (face) => face.expression === name,
    );
  return make(
    "div",
    { class: "controls" },
    make(
      "div",
      { class: "segments", role: "group", "aria-label": "Face" },
      rest("As photographed", true),
      rest("Neutral", false),
    ),
    expressions.length
      ? make("div", { class: "controls", role: "group", "aria-label": "Expression" }, expressions.map(expression))
      : null,
  );
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
  if (!detail.mesh)
    return fallBack(`No 3D view: ${detail.mesh_left_out || "no mesh was found"}.`);
  const mesh = unpackMesh(detail.mesh, read(`layout-${detail.mesh.layout}`));
  const made = makeViewer(
    canvas,
    mesh,
    () =>
      viewer === made &&
      fallBack("No 3D view: the browser lost its connection to the graphics card. Reload the page."),
  );
  if (!made) return fallBack("No 3D view: this browser has no WebGL 2.");
  viewer = made;
  canvas.viewer = made;
  if (detail.face) made.face = makeFace(made, mesh, unpackFace(detail.face, read));
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

function comparePanel(photo, images) {
  const choices = [
    ["Photo and rendering", ["photo", "Photo"], ["rendering", "Rendering over the photo"]],
    ["Initial and refined", ["initial", "Initial texture"], ["refined", "Refined texture"]],
  ].filter(([, before, after]) => images[before[0]] && images[after[0]]);
  const place = make("div", {});
  const show = ([, before, after]) => {
    const over = picture(images[before[0]], `${photo.name}: ${before[1].toLowerCase()}`);
    over.classList.add("over");
    const line = make("div", { class: "line" });
    const frame = make(
      "div",
      { class: "slider" },
      picture(images[after[0]], `${photo.name}: ${after[1].toLowerCase()}`),
      over,
      line,
      make("span", { class: "tag left" }, before[1]),
      make("span", { class: "tag right" }, after[1]),
      make("input", {
        type: "range",
        min: 0,
        max: 100,
        step: 0.5,
        value: 50,
        "aria-label": `Visible share of: ${before[1]}`,
        oninput: (event) => slide(event.target.value),
      }),
    );
    const slide = (percent) => {
      over.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
      line.style.left = `${percent}%`;
    };
    slide(50);
    place.replaceChildren(frame);
  };
  const buttons = choices.map((pair, number) =>
    make(
      "button",
      {
        type: "button",
        "aria-pressed": String(number === 0),
        onclick: () => {
          buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === number)));
          show(pair);
        },
      },
      pair[0],
    ),
  );
  show(choices[0]);
  return panel(
    "Before and after",
    make(
      "div",
      { class: "controls first" },
      make("div", { class: "segments", role: "group", "aria-label": "Pictures" }, buttons),
    ),
    place,
  );
}

function texturesPanel(photo, detail) {
  const enlarge = (image, alt, title) => () => {
    const dialog = make(
      "dialog",
      { class: "enlarged", "aria-label": title, onclose: () => dialog.remove(), onclick: () => dialog.close() },
      picture(image, alt),
      make("form", { method: "dialog" }, make("button", {}, "Close")),
    );
    app.append(dialog);
    dialog.showModal();
  };
  const figures = Object.entries(PICTURES)
    .filter(([name]) => detail.images[name])
    .map(([name, [title, text]]) => {
      const alt = `${title} texture of ${photo.name}: ${text}`;
      return make(
        "figure",
        {},
        make(
          "button",
          { type: "button", class: "plain", title: "Enlarge", onclick: enlarge(detail.images[name], alt, title) },
          picture(detail.images[name], alt),
        ),
        make("figcaption", {}, make("b", {}, title), ` ${text}`, name === "provenance" ? legend(detail.shares) : null),
      );
    });
  return panel("Textures", make("div", { class: "textures" }, figures));
}

function legend(shares) {
  return make(
    "ul",
    { class: "legend" },
    Object.entries(run.legend)
      .filter(([name]) => shares?.[name] !== undefined)
      .map(([name, { colour, text }]) => {
        const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
        swatch.style.backgroundColor = `rgb(${colour.join(" ")})`;
        return make("li", { title: text }, swatch, `${name} ${(100 * shares[name]).toFixed(0)} %`);
      }),
  );
}

function repeatPanel(photo, detail) {
  const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  return panel(
    "Files, and how to reproduce them",
    make(
      "ul",
      { class: "files" },
      detail.files.map((file) =>
        make(
          "li",
          {},
          make(
            "a",
            {
              class: "button",
              href: file.href,
              download: file.name.startsWith(photo.name) ? file.name : `${photo.name}_${file.name}`,
            },
            `${file.label} `,
            make("span", { class: "quiet" }, size(file.bytes)),
          ),
        ),
      ),
    ),
    make("h3", {}, "Command"),
    command(detail.command),
    pairs([
      ["Seed", /^seed: (.*)$/m.exec(detail.settings)?.[1]],
      ["Features", detail.features],
    ]),
    folded("All settings", make("pre", { tabindex: "0" }, detail.settings || "unknown")),
    folded("Assets and licences", assets()),
  );
}
