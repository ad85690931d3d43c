"""Times the renderer's functions: `python tests/benchmarks/bench_renderer.py [--size 1024] [--repeats 5]`.

Prints the median over the repeats, in milliseconds, for a curved sheet of 100,000 faces that fills most of the image.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from synthetic_meshes import dome, grid_mesh

from renderer.camera import Camera
from renderer.dilate import dilate
from renderer.lookup import build_lookup
from renderer.mesh import load_mesh, save_mesh
from renderer.rasterize import rasterize, rasterize_uv
from renderer.render import render
from renderer.unwrap import unwrap
from renderer.visibility import texel_geometry, visibility


def measure(name: str, action: Callable[[], Any], repeats: int) -> Any:
    """Prints the median time of an action; returns its last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = action()
        times.append((time.perf_counter() - start) * 1000)
    print(f"{name:<44}{statistics.median(times):9.1f} ms   (fastest {min(times):.1f})")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="side of the photo and of the texture")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    size, repeats = options.size, options.repeats
    mesh = grid_mesh(dome, 225, 225)
    camera = Camera(size, size, 2.0 * size, 2.0 * size, size / 2, size / 2)
    photo = np.random.default_rng(0).random((size, size, 3), dtype=np.float32)
    print(f"{len(mesh.faces)} faces, photo and texture {size} x {size}, {torch.get_num_threads()} threads")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.obj"
        measure("save_mesh", lambda: save_mesh(mesh, path), 1)
        measure("load_mesh", lambda: load_mesh(path), 1)
    measure("rasterize", lambda: rasterize(mesh, camera), repeats)
    measure("rasterize_uv", lambda: rasterize_uv(mesh.uvs, mesh.uv_faces, size, size), repeats)
    geometry = measure("texel_geometry", lambda: texel_geometry(mesh, size, size), repeats)
    measure("visibility", lambda: visibility(geometry, mesh, camera), repeats)
    measure("unwrap", lambda: unwrap(photo, geometry, camera), repeats)
    measure("dilate", lambda: dilate(photo, geometry.mask), repeats)
    measure("render", lambda: render(photo, mesh, camera), repeats)
    texture = torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous().requires_grad_()
    for samples in (1, 2, 3):
        name = f"look-up, {samples} x {samples} samples"
        build = lambda samples=samples: build_lookup(mesh, camera, size, size, samples)
        lookup = measure(f"{name}: build", build, repeats)
        lookup(texture)
        measure(f"{name}: forward", lambda lookup=lookup: lookup(texture), 4 * repeats)
        weights = torch.rand(len(lookup.pixels), 3)
        measure(
            f"{name}: forward and backward",
            lambda lookup=lookup, weights=weights: torch.autograd.grad(lookup(texture), texture, weights),
            4 * repeats,
        )
        print(f"    {len(lookup.pixels)} pixels, {lookup.matrix.nnz} weights")


if __name__ == "__main__":
    main()
