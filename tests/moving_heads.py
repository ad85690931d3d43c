"""Heads with a rig, made of the head model: an expression, a gaze and a pose that are known."""


import numpy as np
from head_file import head_model
from scipy.spatial.transform import Rotation
from synthetic_faces import turn

from external.anny import HeadModel
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.rig import Rig
from renderer.camera import Camera
from renderer.mesh import Mesh

EXPRESSION = {"jawOpen": 0.4, "mouthSmileLeft": 0.7, "eyeBlinkRight": 0.3}
GAZE = np.array([0.3, -0.2, 1.0]) / np.linalg.norm([0.3, -0.2, 1.0])
EYES = ("eye_left", "eye_right")


def rig_of_model(model: HeadModel, expression=EXPRESSION, gaze=GAZE) -> Rig:
    """The model's own head at rest. gaze: where both eyes look, length 1."""
    names = ("skin", *(name for name in model.part_names if name.startswith(("eye_l", "eye_r", "to", "up", "lo"))))
    parts = np.zeros(len(model.vertices), np.int32)  # sockets and mouth share their rims with the skin and belong to it
    for number, name in enumerate(names[1:], start=1):
        parts[model.vertices_of(name)] = number
    weights = np.array([expression.get(name, 0) for name in model.expression_names], np.float32)
    centres = model.eye_centres(model.vertices)
    balls = [model.vertices[model.vertices_of(name)] for name in EYES]
    radii = [np.linalg.norm(ball - centre, axis=1).max() for ball, centre in zip(balls, centres, strict=True)]
    return Rig(
        model.vertices, np.array(model.expression_names), model.expressions, weights, np.array(names), parts,
        np.array(["left", "right"]), np.array([names.index(name) for name in EYES]), centres, np.array(radii),
        np.array([gaze, gaze]),
    )  # fmt: skip


def moving_head(expression=EXPRESSION, gaze=GAZE, yaw=25.0, width=300, height=280) -> Reconstruction:
    """A turned head as in a photo, with its rig; its photo is grey."""
    model = head_model()
    rig = rig_of_model(model, expression, gaze)
    shown = rig.posed().astype(np.float64)
    look = Rotation.align_vectors([gaze], [[0, 0, 1]])[0].as_matrix()
    for name, centre in zip(EYES, rig.eye_centres, strict=True):
        ball = model.vertices_of(name)
        shown[ball] = (shown[ball] - centre) @ look.T + centre
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn(yaw, pitch=-8, roll=5), (0.01, 0.03, 0.8)
    mesh = Mesh(shown @ pose[:3, :3].T + pose[:3, 3], model.triangles, model.uvs, model.uv_triangles)
    photo = np.full((height, width, 3), 128, np.uint8)
    camera = Camera(width, height, 700.0, 700.0, width / 2, height / 2)
    return Reconstruction(mesh, camera, photo, None, None, pose, False, {}, rig)

