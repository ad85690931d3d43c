"""Meshes, cameras and textures: rasterisation, texture look-up, unwrapping and visibility.

Conventions of the whole project, stated only here:

- Camera axes follow OpenCV: x to the right, y down, z forward. Mesh vertices are in this camera space, in the
  (arbitrary) unit of the reconstruction. A point (X, Y, Z) projects to x = fx X/Z + cx, y = fy Y/Z + cy.
- The centre of the pixel in row i, column j of an image lies at x = j + 0.5, y = i + 0.5. An H x W image covers
  0 <= x <= W, 0 <= y <= H.
- The centre of the texel in row i, column j of an H x W texture lies at u = (j + 0.5) / W, v = 1 - (i + 0.5) / H
  (v up, as in glTF and OBJ).
- Faces are triangles with 0-based ids; -1 marks a pixel without a face. Barycentric coordinates follow the order of the
  face's vertices and are perspective-correct (linear on the surface, not on the screen).
- Images and textures are RGB, 0..1, float32, [H, W, 3] in NumPy and [1, 3, H, W] in torch.

`python -m renderer.build` builds the compiled parts.
"""
