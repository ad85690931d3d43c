"use strict";

// An interactive view of a textured mesh, in plain WebGL 2. The camera is that of preview.png: a portrait lens, centred
// on the head. Texture bytes are shown without colour conversion, and without light unless the light is on.

const FOCAL = 2.7; // focal length, in units of the picture's shorter side, at zoom 1
const DISTANCE = 5.7; // of the camera, in units of the mesh's radius
const LIMITS = { pitch: 89, zoom: [0.6, 10], shift: 0.6 };
const START = { yaw: 0, pitch: 0, zoom: 1, right: 0, down: 0 };

const VERTEX_SHADER = `#version 300 es
precision highp float;
uniform mat4 matrix;
uniform mat3 turn;
uniform vec4 line;
in vec3 position;
in vec3 normal;
in vec2 uv;
out vec2 place;
out vec3 outward;
void main() {
  gl_Position = matrix * vec4(position, 1.0);
  if (line.a > 0.0) gl_Position.z -= 0.002 * gl_Position.w; // lines lie in front of the faces they bound
  place = vec2(uv.x, 1.0 - uv.y);
  outward = turn * normal;
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
uniform sampler2D image;
uniform bool light;
uniform vec4 line;
in vec2 place;
in vec3 outward;
out vec4 colour;
void main() {
  if (line.a > 0.0) { colour = line; return; }
  vec3 shown = texture(image, place).rgb;
  if (light) {
    float facing = dot(normalize(outward), normalize(vec3(-0.45, 0.5, 0.75)));
    shown *= 0.3 + 0.85 * max(facing, 0.0);
  }
  if (!gl_FrontFacing) shown *= 0.5; // the inside of the mask
  colour = vec4(min(shown, 1.0), 1.0);
}`;

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

function unpackPositions({ positions, low, high }) {
  const steps = new Uint16Array(bytesOf(positions));
  const unpacked = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i++) {
    const axis = i % 3;
    unpacked[i] = low[axis] + (steps[i] / 65535) * (high[axis] - low[axis]);
  }
  return unpacked;
}

// Decodes a mesh packed by report/pictures.py. mesh: the photo's shape. layout: shared by photos.
function unpackMesh(mesh, layout) {
  const faces =
    layout.bytes_per_index === 2 ? new Uint16Array(bytesOf(layout.faces)) : new Uint32Array(bytesOf(layout.faces));
  return {
    positions: unpackPositions(mesh),
    normals: new Int8Array(bytesOf(mesh.normals)),
    uvs: new Uint16Array(bytesOf(layout.uvs)),
    faces,
  };
}

// Creates a viewer in a canvas; null without WebGL 2. onLost: called when the WebGL context is lost.
function makeViewer(canvas, mesh, onLost) {
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: false });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, VERTEX_SHADER],
    [gl.FRAGMENT_SHADER, FRAGMENT_SHADER],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const uniforms = { matrix: uniform("matrix"), turn: uniform("turn"), light: uniform("light"), line: uniform("line") };

  // Each vertex has the `size` first values of every `stride` bytes.
  const attribute = (name, size, type, normalized, stride) => {
    const place = gl.getAttribLocation(program, name);
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalized, stride, 0);
    return (data, usage) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, usage);
    };
  };
  const fillPositions = attribute("position", 3, gl.FLOAT, false, 12);
  const fillNormals = attribute("normal", 3, gl.BYTE, true, 4);
  // Normals are padded to four bytes each, because graphics cards need aligned attributes.
  const padded = (normals) => {
    const filled = new Int8Array((normals.length / 3) * 4);
    for (let i = 0; i < normals.length; i++) filled[Math.floor(i / 3) * 4 + (i % 3)] = normals[i];
    return filled;
  };
  fillPositions(mesh.positions, gl.STATIC_DRAW);
  fillNormals(padded(mesh.normals), gl.STATIC_DRAW);
  attribute("uv", 2, gl.UNSIGNED_SHORT, true, 4)(mesh.uvs, gl.STATIC_DRAW);

  const indexType = mesh.faces instanceof Uint16Array ? gl.UNSIGNED_SHORT : gl.UNSIGNED_INT;
  const indices = (data) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, data, gl.STATIC_DRAW);
    return { buffer, count: data.length };
  };
  const triangles = indices(mesh.faces);
  let edges = null; // made on first use

  const { centre, reach } = extent(mesh.positions);
  const anisotropy = gl.getExtension("EXT_texture_filter_anisotropic");
  const textures = {};
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.enable(gl.DEPTH_TEST);

  const viewer = {
    view: { ...START },
    light: false,
    wireframe: false,
    texture: "",
    face: null, // of face.js, where the head has one

    // image: a loaded <img>.
    addTexture(name, image) {
      textures[name] = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, textures[name]);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
      gl.generateMipmap(gl.TEXTURE_2D);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
      for (const axis of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T])
        gl.texParameteri(gl.TEXTURE_2D, axis, gl.CLAMP_TO_EDGE);
      if (anisotropy) gl.texParameterf(gl.TEXTURE_2D, anisotropy.TEXTURE_MAX_ANISOTROPY_EXT, 8);
    },

    has: (name) => name in textures,

    // Changes any of light, wireframe, texture (a name that was added) and of the view's yaw, pitch (degrees), zoom,
    // right, down.
    set({ light, wireframe, texture, ...view }) {
      viewer.light = light ?? viewer.light;
      viewer.wireframe = wireframe ?? viewer.wireframe;
      viewer.texture = texture ?? viewer.texture;
      const next = { ...viewer.view, ...view };
      const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
      next.yaw = ((((next.yaw + 180) % 360) + 360) % 360) - 180;
      next.pitch = clamp(next.pitch, -LIMITS.pitch, LIMITS.pitch);
      next.zoom = clamp(next.zoom, ...LIMITS.zoom);
      next.right = clamp(next.right, -LIMITS.shift * next.zoom, LIMITS.shift * next.zoom);
      next.down = clamp(next.down, -LIMITS.shift * next.zoom, LIMITS.shift * next.zoom);
      viewer.view = next;
      viewer.redraw();
    },

    reset() {
      viewer.set(START);
    },

    // Moves the vertices: positions and normals as unpackMesh gives them. The camera stays.
    reshape(positions, normals) {
      fillPositions(positions, gl.DYNAMIC_DRAW);
      fillNormals(padded(normals), gl.DYNAMIC_DRAW);
      viewer.redraw();
    },

    redraw() {
      if (!viewer.pending) viewer.pending = requestAnimationFrame(viewer.draw);
    },

    draw() {
      viewer.pending = 0;
      const ratio = window.devicePixelRatio || 1;
      const width = Math.max(Math.round(canvas.clientWidth * ratio), 1);
      const height = Math.max(Math.round(canvas.clientHeight * ratio), 1);
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      gl.viewport(0, 0, width, height);
      gl.clearColor(
        ...(getComputedStyle(canvas).backgroundColor.match(/[\d.]+/g) || []).slice(0, 3).map((n) => n / 255),
        1,
      );
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      if (!textures[viewer.texture]) return;
      const turn = rotation(viewer.view);
      gl.uniformMatrix3fv(uniforms.turn, false, turn);
      gl.uniformMatrix4fv(uniforms.matrix, false, projection(turn, centre, reach, viewer.view, width, height));
      gl.uniform1i(uniforms.light, viewer.light ? 1 : 0);
      gl.uniform4f(uniforms.line, 0, 0, 0, 0);
      gl.bindTexture(gl.TEXTURE_2D, textures[viewer.texture]);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, triangles.buffer);
      gl.drawElements(gl.TRIANGLES, triangles.count, indexType, 0);
      if (viewer.wireframe) {
        edges ??= indices(edgesOf(mesh.faces));
        gl.uniform4f(uniforms.line, 0.05, 0.35, 0.6, 1);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, edges.buffer);
        gl.drawElements(gl.LINES, edges.count, indexType, 0);
      }
    },

    // The current view as a PNG in a data URL.
    picture() {
      viewer.draw();
      return canvas.toDataURL("image/png");
    },

    dispose() {
      observer.disconnect();
      viewer.face?.stop();
      cancelAnimationFrame(viewer.pending);
      gl.getExtension("WEBGL_lose_context")?.loseContext();
    },
  };

  const observer = new ResizeObserver(viewer.redraw);
  observer.observe(canvas);
  canvas.addEventListener("webglcontextlost", onLost);
  listen(canvas, viewer);
  return viewer;
}

// Handles mouse, touch, wheel and keys. One finger turns; two fingers zoom and move. The wheel zooms only after a click
// on the head, so that the page still scrolls.
function listen(canvas, viewer) {
  const pointers = new Map();
  const middle = () => {
    const all = [...pointers.values()];
    const sum = all.reduce((a, b) => ({ x: a.x + b.x, y: a.y + b.y }), { x: 0, y: 0 });
    const spread = all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0;
    return { x: sum.x / all.length, y: sum.y / all.length, spread };
  };
  const move = (dx, dy, shifting) => {
    const size = Math.min(canvas.clientWidth, canvas.clientHeight);
    const { yaw, pitch, zoom, right, down } = viewer.view;
    if (shifting) viewer.set({ right: right + dx / size, down: down + dy / size });
    else
      viewer.set({
        yaw: yaw + ((dx / size) * 180) / Math.sqrt(zoom),
        pitch: pitch + ((dy / size) * 180) / Math.sqrt(zoom),
      });
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const after = middle();
    if (before.spread && after.spread) viewer.set({ zoom: (viewer.view.zoom * after.spread) / before.spread });
    move(after.x - before.x, after.y - before.y, pointers.size > 1 || event.shiftKey);
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));

  canvas.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      viewer.set({ zoom: viewer.view.zoom * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)) });
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", viewer.reset);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const { yaw, pitch, zoom, right, down } = viewer.view;
    if (step && event.shiftKey) viewer.set({ right: right + step[0] * 0.05, down: down + step[1] * 0.05 });
    else if (step) viewer.set({ yaw: yaw + step[0] * 10, pitch: pitch + step[1] * 10 });
    else if (event.key === "+" || event.key === "=") viewer.set({ zoom: zoom * 1.2 });
    else if (event.key === "-" || event.key === "_") viewer.set({ zoom: zoom / 1.2 });
    else if (event.key === "0" || event.key === "Home") viewer.reset();
    else return;
    event.preventDefault();
  });
}

function extent(positions) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < positions.length; i++) {
    low[i % 3] = Math.min(low[i % 3], positions[i]);
    high[i % 3] = Math.max(high[i % 3], positions[i]);
  }
  const centre = low.map((value, axis) => (value + high[axis]) / 2);
  let reach = 0;
  for (let i = 0; i < positions.length; i += 3) {
    reach = Math.max(
      reach,
      Math.hypot(positions[i] - centre[0], positions[i + 1] - centre[1], positions[i + 2] - centre[2]),
    );
  }
  return { centre, reach: reach || 1 };
}

// Rotation matrix of the head, by columns; yaw about the vertical axis first (positive: towards the head's left), then
// pitch (positive: the head looks down).
function rotation({ yaw, pitch }) {
  const [a, b] = [(yaw * Math.PI) / 180, (pitch * Math.PI) / 180];
  const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)];
  return [ca, sb * sa, -cb * sa, 0, cb, sb, sa, -sb * ca, cb * ca];
}

// Matrix from the head frame to clip space, by columns.
function projection(turn, centre, reach, view, width, height) {
  const focal = FOCAL * view.zoom * Math.min(width, height);
  const [fx, fy] = [(2 * focal) / width, (2 * focal) / height];
  const size = Math.min(width, height);
  const [sx, sy] = [(2 * view.right * size) / width, (-2 * view.down * size) / height];
  const [near, far] = [(DISTANCE - 1.1) * reach, (DISTANCE + 1.1) * reach];
  const [p, q] = [(far + near) / (far - near), (-2 * far * near) / (far - near)];
  const matrix = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    const at = (row) =>
      column < 3
        ? turn[column * 3 + row]
        : -(turn[row] * centre[0] + turn[3 + row] * centre[1] + turn[6 + row] * centre[2]);
    const depth = (column === 3 ? DISTANCE * reach : 0) - at(2);
    matrix[column * 4] = fx * at(0) + sx * depth;
    matrix[column * 4 + 1] = fy * at(1) + sy * depth;
    matrix[column * 4 + 2] = p * depth + (column === 3 ? q : 0);
    matrix[column * 4 + 3] = depth;
  }
  return matrix;
}

function edgesOf(faces) {
  const found = new Set();
  const edges = [];
  for (let face = 0; face < faces.length; face += 3) {
    for (let corner = 0; corner < 3; corner++) {
      const [a, b] = [faces[face + corner], faces[face + ((corner + 1) % 3)]];
      const key = Math.min(a, b) * 2 ** 26 + Math.max(a, b);
      if (found.has(key)) continue;
      found.add(key);
      edges.push(a, b);
    }
  }
  return new faces.constructor(edges);
}
