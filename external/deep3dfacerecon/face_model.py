"""The linear face model: computes shape, colours, pose and image positions from coefficients.

Basel Face Model 2009 (Paysan et al.) cropped to the face, with the expressions of Guo et al. 2018, as
Deep3DFaceRecon uses it (models/bfm.py). The unit is the decimetre.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from external.deep3dfacerecon.mat_files import read_mat, vertex_ids
from external.errors import shortened

MODEL_FILE = "BFM_model_front.mat"
UV_FILE, FRONT_INDEX_FILE = "BFM_UV.mat", "BFM_front_idx.mat"
BASES = {"idBase": 80, "exBase": 64, "texBase": 80}  # columns in use, equal to those of the published file
CAMERA_DISTANCE = 10.0  # decimetres
FOCAL = 1015.0  # px of the crop
CENTRE = 112.0  # px, the exact centre of the crop
AMBIENT = 0.8  # added to the constant lighting term of every channel


@dataclass(frozen=True)
class Faces:
    """B faces of V vertices, as published. Camera axes: x right, y up, z away from the camera (10 - z of the head)."""

    vertices: Tensor  # [B, V, 3], camera space, decimetres
    texture: Tensor  # [B, V, 3], RGB without light, about 0..1
    colour: Tensor  # [B, V, 3], RGB under the predicted light, about 0..1
    rotation: Tensor  # [B, 3, 3], applied to rows: v @ R + t
    translation: Tensor  # [B, 3]


class FaceModel(nn.Module):
    """The face model of a BFM_model_front.mat. It moves to the device of the coefficients.

    faces: [F, 3] int64 into the V vertices.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises FileNotFoundError; ValueError for another or a damaged file, naming it and the first differences."""
        super().__init__()
        self.path = Path(path)
        origin = f"{MODEL_FILE}, made from the Basel Face Model 2009 by external.deep3dfacerecon.make_face_model"
        content = read_mat(self.path, ("meanshape", "meantex", *BASES, "tri", "point_buf"), origin)
        count, problems = content["meanshape"].size // 3, []
        shapes = {"meanshape": (), "meantex": (), **{basis: (columns,) for basis, columns in BASES.items()}}
        for name, columns in shapes.items():
            array, shape = content[name], (3 * count, *columns)
            flat = array.reshape(-1) if len(shape) == 1 else array
            if flat.shape != shape or array.dtype.kind not in "fiu":
                problems.append(f"{name} is {list(array.shape)}, not {list(shape)} numbers")
            elif not np.isfinite(array).all():
                problems.append(f"{name} holds values that are not finite numbers")
        faces = vertex_ids(content["tri"], "tri", (-1, 3), count, problems)
        around = vertex_ids(content["point_buf"], "point_buf", (count, -1), len(faces) + 1, problems)
        if problems:
            raise ValueError(f"{self.path}: not a {MODEL_FILE}: {shortened(problems)}")

        mean_shape = content["meanshape"].reshape(count, 3).astype(np.float64)
        self.register_buffer("mean_shape", torch.tensor(mean_shape - mean_shape.mean(0), dtype=torch.float32))
        self.register_buffer("mean_texture", torch.tensor(content["meantex"].reshape(count, 3), dtype=torch.float32))
        for name, key in (("identity_basis", "idBase"), ("expression_basis", "exBase"), ("texture_basis", "texBase")):
            self.register_buffer(name, torch.tensor(content[key], dtype=torch.float32))
        self.register_buffer("faces", torch.from_numpy(faces))
        self.register_buffer("faces_around", torch.from_numpy(around))

    @cached_property
    def uvs(self) -> np.ndarray:
        """Texture coordinates [V, 2], v up, 0..1: the rows of BFM_UV.mat that BFM_front_idx.mat selects.

        Both files must be in the folder of the model's file.

        Raises FileNotFoundError, ValueError.
        """
        origin = "the file of that name (github.com/cleardusk/3DDFA_V2 or sicxu/Deep3DFaceRecon_pytorch)"
        uvs = read_mat(self.path.parent / UV_FILE, ("UV",), origin)["UV"]
        rows = read_mat(self.path.parent / FRONT_INDEX_FILE, ("idx",), origin)["idx"]
        problems = []
        rows = vertex_ids(rows, "idx", (len(self.mean_shape),), len(uvs), problems)
        if problems or uvs.ndim != 2 or uvs.shape[1] != 2:
            problems = problems or [f"UV is {list(uvs.shape)}, not [N, 2]"]
            given = f"{self.path.parent}: {UV_FILE} and {FRONT_INDEX_FILE}"
            raise ValueError(f"{given} do not match {self.path.name}: {problems[0]}")
        return uvs[rows].astype(np.float64)

    def forward(self, coefficients: Tensor) -> Faces:
        """Faces of coefficients [B, 257].

        coefficients: identity 80, expression 64, texture 80, angles 3, lighting 27, translation 3.
        """
        if coefficients.ndim != 2 or coefficients.shape[1] != 257:
            raise ValueError(f"FaceModel: got coefficients {list(coefficients.shape)}, need [B, 257]")
        self.to(coefficients.device)
        coefficients = coefficients.to(self.mean_shape.dtype)
        identity, expression, tint, angles, light, translation = coefficients.split((80, 64, 80, 3, 27, 3), dim=1)
        shape = identity @ self.identity_basis.T + expression @ self.expression_basis.T
        shape = shape.view(len(shape), -1, 3) + self.mean_shape
        texture = ((tint @ self.texture_basis.T).view_as(shape) + self.mean_texture) / 255
        rotation = rotations(angles)
        colour = texture * lighting(self.normals(shape) @ rotation, light)
        vertices = shape @ rotation + translation[:, None]
        vertices = torch.cat([vertices[..., :2], CAMERA_DISTANCE - vertices[..., 2:]], dim=2)
        return Faces(vertices, texture, colour, rotation, translation)

    def normals(self, shape: Tensor) -> Tensor:  # [B, V, 3] -> [B, V, 3]
        """Unit normals of vertices [B, V, 3]: the unweighted mean direction of the adjacent faces."""
        first, second, third = (shape[:, self.faces[:, corner]] for corner in range(3))
        directions = F.normalize(torch.linalg.cross(first - second, second - third), dim=2)
        # One more face with zero normal, which pads the lists of vertices with fewer adjacent faces.
        directions = F.pad(directions, (0, 0, 0, 1))
        return F.normalize(directions[:, self.faces_around].sum(2), dim=2)


def rotations(angles: Tensor) -> Tensor:  # [B, 3] -> [B, 3, 3]
    """Rotation matrices for row vectors (v @ R) by angles [B, 3] about x, then y, then z, radians."""
    cosine, sine = angles.cos(), angles.sin()
    one, zero = torch.ones_like(cosine[:, 0]), torch.zeros_like(cosine[:, 0])
    (cos_x, cos_y, cos_z), (sin_x, sin_y, sin_z) = cosine.unbind(1), sine.unbind(1)

    def matrix(*entries: Tensor) -> Tensor:  # nine of [B] -> [B, 3, 3]
        return torch.stack(entries, dim=1).view(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, cos_x, sin_x, zero, -sin_x, cos_x)
    about_y = matrix(cos_y, zero, -sin_y, zero, one, zero, sin_y, zero, cos_y)
    about_z = matrix(cos_z, sin_z, zero, -sin_z, cos_z, zero, zero, zero, one)
    return about_x @ about_y @ about_z


def lighting(normals: Tensor, coefficients: Tensor) -> Tensor:  # [B, V, 3], [B, 27] -> [B, V, 3]
    """Light per colour channel at unit normals [B, V, 3], by spherical harmonics (Ramamoorthi and Hanrahan 2001).

    coefficients: [B, 27], 9 each for red, green and blue; AMBIENT is added to the first of each.
    """
    x, y, z = normals.unbind(2)
    constant, linear, quadratic = math.sqrt(math.pi) / 2, math.sqrt(math.pi), math.sqrt(15 * math.pi / 8)
    terms = (
        torch.full_like(x, constant), -linear * y, linear * z, -linear * x,
        quadratic * x * y, -quadratic * y * z, quadratic / (2 * math.sqrt(3)) * (3 * z * z - 1),
        -quadratic * x * z, quadratic / 2 * (x * x - y * y),
    )  # fmt: skip
    weights = coefficients.view(-1, 3, 9) + F.pad(coefficients.new_full((1, 1, 1), AMBIENT), (0, 8))
    return torch.stack(terms, dim=2) @ weights.transpose(1, 2)
