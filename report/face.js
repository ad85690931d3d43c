"use strict";

// A face that moves: a blend of the head at rest and as photographed, to which expressions add morph targets.

const EASE = 300; // ms, from one pose to the next

// Decodes a face packed by report/face.py. read: (element id) => data of a block that photos share.
function unpackFace(face, read) {
  const targets = Object.entries(face.targets).map(([name, { block, weight }]) => {
    const { largest, vertices, offsets } = read(block);
    const scale = largest / 32767;
    return {
      name,
      weight, // in the photo
      vertices: new Uint32Array(bytesOf(vertices)),
      offsets: Float32Array.from(new Int16Array(bytesOf(offsets)), (step) => step * scale),
    };
  });
  return { neutral: unpackPositions(face), targets, expressions: face.expressions, ...read(face.corners) };
}

// Moves the mesh of a viewer. mesh: of unpackMesh. parts: of unpackFace.
function makeFace(viewer, mesh, parts) {
  const { neutral, targets, expressions } = parts;
  const count = neutral.length / 3;
  const isEyeball = new Uint8Array(count);
  for (const corner of parts.eyeballs) isEyeball[corner] = 1;
  const first = Uint32Array.from({ length: count }, (_, corner) => corner); // of the corners of the same vertex
  for (const corner of parts.copies) first[corner] = first[corner - 1];

  // A pose is two lists of amounts, for the eyeballs and for all else: of the photo, then of each target.
  const length = 1 + targets.length;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let pose = Float64Array.from({ length: 2 * length }, (_, i) => (i % length ? 0 : 1));
  let pending = 0;

  // The pose with these settings. An expression takes the place of what the photo has of its targets. Eyeballs in the
  // photo are turned, not moved by targets; eyes that look aside start from rest.
  function wanted({ photographed, expression }) {
    const weights = expressions[expression] ?? {};
    const shown = photographed ? 1 : 0;
    const looking = Object.keys(weights).some((name) => name.startsWith("eyeLook"));
    const rest = targets.map(({ name, weight }) => (name in weights ? weights[name] - shown * weight : 0));
    const eyeballs = looking ? [0, ...targets.map(({ name }) => weights[name] ?? 0)] : [shown, ...rest];
    return Float64Array.from([...eyeballs, shown, ...rest]);
  }

  function positionsOf(amounts) {
    const positions = new Float32Array(neutral.length);
    for (let i = 0; i < positions.length; i++) {
      const shown = amounts[isEyeball[Math.floor(i / 3)] ? 0 : length];
      positions[i] = shown * mesh.positions[i] + (1 - shown) * neutral[i];
    }
    targets.forEach(({ vertices, offsets }, number) => {
      const [eyeball, rest] = [amounts[1 + number], amounts[length + 1 + number]];
      if (!eyeball && !rest) return;
      for (let i = 0; i < offsets.length; i++) {
        const corner = vertices[Math.floor(i / 3)];
        positions[3 * corner + (i % 3)] += offsets[i] * (isEyeball[corner] ? eyeball : rest);
      }
    });
    return positions;
  }

  function draw(amounts) {
    pose = amounts;
    const positions = positionsOf(amounts);
    viewer.reshape(positions, normalsOf(positions, mesh.faces, first));
  }

  const face = {
    photographed: true,
    expression: "", // or a key of the expressions

    // Changes any of photographed and expression, and moves there.
    set(change) {
      Object.assign(face, change);
      const [from, to, start] = [pose, wanted(face), performance.now()];
      const step = (now) => {
        const share = still.matches ? 1 : Math.min(Math.max((now - start) / EASE, 0), 1);
        const eased = share * share * (3 - 2 * share);
        pending = share < 1 ? requestAnimationFrame(step) : 0;
        draw(from.map((amount, i) => (1 - eased) * amount + eased * to[i]));
      };
      face.stop();
      step(start);
    },

    isMoving: () => pending !== 0,

    stop() {
      cancelAnimationFrame(pending);
      pending = 0;
    },
  };
  return face;
}

// Normals of all corners, as those of unpackMesh: the area-weighted means of their faces. first: for each corner, the
// first one of the same vertex.
function normalsOf(positions, faces, first) {
  const sums = new Float32Array(positions.length);
  for (let face = 0; face < faces.length; face += 3) {
    const [a, b, c] = [3 * faces[face], 3 * faces[face + 1], 3 * faces[face + 2]];
    const side = (to, axis) => positions[to + axis] - positions[a + axis];
    for (let axis = 0; axis < 3; axis++) {
      const [next, last] = [(axis + 1) % 3, (axis + 2) % 3];
      const area = side(b, next) * side(c, last) - side(b, last) * side(c, next);
      for (let corner = face; corner < face + 3; corner++) sums[3 * first[faces[corner]] + axis] += area;
    }
  }
  const normals = new Int8Array(positions.length);
  for (let corner = 0; corner < first.length; corner++) {
    const from = 3 * first[corner];
    const size = Math.hypot(sums[from], sums[from + 1], sums[from + 2]) || 1;
    for (let axis = 0; axis < 3; axis++) normals[3 * corner + axis] = Math.round((127 * sums[from + axis]) / size);
  }
  return normals;
}
