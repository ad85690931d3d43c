"""What the completion and the refinement know of skin the photo does not show.

    python tests/benchmarks/bench_unseen.py OUT [name ...] [key=value ...]

For each reconstruction in OUT (made by ./run.sh) the texture of what its photo surely shows is the truth. The same mesh,
turned by 45 and 65 degrees to either side and rendered with it over mid-grey, is a photo with known geometry; the
pipeline completes and refines that picture alone. Scores are over texels which that picture does not show and whose
truth is known: PSNR, CIE76 colour difference, and the ratio of high-frequency energy to the truth's (1 is right).
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from skimage.color import rgb2lab

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.choices import choose_device, choose_features
from pipeline.config import load_config
from pipeline.photos import as_bytes, as_float, read_photo
from pipeline.reconstruction_folder import is_reconstruction, load_reconstruction
from pipeline.refinement import prepare, refine_photo
from renderer.camera import Camera
from renderer.mesh import Mesh
from renderer.render import render

YAWS = (-65, -45, 45, 65)
PICTURE = 1024
GREY = 0.5


def turned(reconstruction, texture, degrees):
    """The reconstruction of a picture of the same textured mesh, turned in its head frame."""
    pose, mesh = reconstruction.head_to_camera, reconstruction.mesh
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    head = (mesh.vertices - pose[:3, 3]) @ pose[:3, :3]
    centre = (head.min(0) + head.max(0)) / 2
    new_pose = np.eye(4)
    new_pose[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ turn
    distance = np.median(mesh.vertices[:, 2])
    new_pose[:3, 3] = [0, 0, distance] - new_pose[:3, :3] @ centre
    vertices = head @ new_pose[:3, :3].T + new_pose[:3, 3]
    focal = 0.8 * PICTURE * distance / np.ptp(head[:, 1])
    camera = Camera(PICTURE, PICTURE, focal, focal, PICTURE / 2, PICTURE / 2)
    new_mesh = Mesh(vertices, mesh.faces, mesh.uvs, mesh.uv_faces)
    picture, _ = render(texture, new_mesh, camera, GREY)
    return replace(reconstruction, mesh=new_mesh, camera=camera, photo=as_bytes(picture), mask=None, head_to_camera=new_pose)


def scores(texture, truth, region):
    """Over the region [H, W] bool: PSNR in dB, CIE76, and the ratio of energy above 2 texels of a 512 texture."""
    sigma = 2 * truth.shape[0] / 512
    fine = [image.mean(-1) - cv2.GaussianBlur(image.mean(-1), (0, 0), sigma) for image in (texture, truth)]
    energy = [np.mean(image[region] ** 2) for image in fine]
    error = np.mean((texture[region] - truth[region]) ** 2)
    colour = np.linalg.norm(rgb2lab(texture)[region] - rgb2lab(truth)[region], axis=-1).mean()
    return -10 * np.log10(error), colour, energy[0] / energy[1]


def main():
    words = sys.argv[1:]
    overrides = [word for word in words if "=" in word]
    out, *names = [word for word in words if "=" not in word]
    config = load_config(None, overrides)
    names = names or sorted(p.name for p in Path(out).iterdir() if is_reconstruction(p / "reconstruction"))
    device = choose_device("cpu")
    features = choose_features(config.refine, device)
    rows = []
    for name in names:
        reconstruction = load_reconstruction(Path(out) / name / "reconstruction")
        known = prepare(reconstruction, config)
        for yaw in YAWS:
            picture = turned(reconstruction, known.initial, yaw)
            start = prepare(picture, config)
            with tempfile.TemporaryDirectory() as folder:
                refine_photo(folder, picture, config, features.extractor(), device)
                refined = as_float(read_photo(Path(folder) / "texture.png"))
            region = known.mask & (known.visibility > 0.99) & (start.visibility < 0.01)
            rows.append((*scores(start.initial, known.initial, region), *scores(refined, known.initial, region)))
            print(f"{name:<14} yaw {yaw:>4}  initial " + "  ".join(f"{v:6.3f}" for v in rows[-1][:3]),
                  " refined " + "  ".join(f"{v:6.3f}" for v in rows[-1][3:]), flush=True)  # fmt: skip
    mean = np.mean(rows, axis=0)
    print(f"mean of {len(rows)}: PSNR {mean[0]:.2f} -> {mean[3]:.2f} dB, CIE76 {mean[1]:.2f} -> {mean[4]:.2f}, "
          f"high-frequency energy {mean[2]:.3f} -> {mean[5]:.3f} of the truth's")  # fmt: skip


if __name__ == "__main__":
    main()
