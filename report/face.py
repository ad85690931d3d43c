"""What the page needs to move a face: the head at rest, the expressions of its buttons, and their morph targets.

The source is rig.npz of the photo's reconstruction in OUT. Photos share whatever is the same: each target is one block
of the page, named by its content.
"""

import hashlib
import json
from typing import Any

import numpy as np

from pipeline.reconstruction.rig import Rig
from renderer.mesh import Mesh, joined_corners
from report.pictures import as_base64, quantised

_SIDES = ("Left", "Right")
_BLINK = {f"eyeBlink{side}": 1.0 for side in _SIDES}
_LIDS = {f"eye{move}{side}": 0.0 for move in ("Squint", "Wide") for side in _SIDES}
_SMILE = {f"mouthSmile{side}": 1.0 for side in _SIDES}
_FROWN = {f"mouthFrown{side}": 0.0 for side in _SIDES}
_TO_PERSONS_RIGHT = {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}
_TO_PERSONS_LEFT = {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}
_AHEAD = dict.fromkeys([*_TO_PERSONS_RIGHT, *_TO_PERSONS_LEFT], 0.0)

# {button: {ARKit name: weight}}. What is 0 would add to the same motion, and gives way to it. Left and right of the
# eyes are those of the picture, as for the buttons that turn the head.
EXPRESSIONS = {
    "Blink": _BLINK | _LIDS,
    "Smile": _SMILE | _FROWN,
    "Open jaw": {"jawOpen": 1.0, "mouthClose": 0.0},
    "Look left": _AHEAD | _TO_PERSONS_RIGHT,
    "Look right": _AHEAD | _TO_PERSONS_LEFT,
}
NEGLIGIBLE = 1e-3  # of a target's largest offset: vertices that move less are not stored


def packed_face(mesh: Mesh, rig: Rig) -> tuple[dict[str, Any], dict[str, dict]]:
    """A face as face.js reads it, for JSON, and the blocks that photos can share, {element id: data}.

    mesh: in the head frame; its corners are those of `pictures.packed_mesh`. rig: of this mesh. Buttons whose motion
    the rig lacks are left out. A target that an expression sets to 0 is packed only where the photo has it.
    """
    vertex_ids, _, _ = joined_corners(mesh)
    weights = dict(zip(rig.target_names.tolist(), rig.weights.tolist(), strict=True))
    expressions = {
        label: {name: weight for name, weight in wanted.items() if weight > 0 or weights.get(name, 0) > 0}
        for label, wanted in EXPRESSIONS.items()
        if all(name in weights for name, weight in wanted.items() if weight > 0)
    }
    corners = {
        # joined_corners sorts by vertex: the copies of a vertex, which has several UVs, follow it.
        "copies": (np.flatnonzero(vertex_ids[1:] == vertex_ids[:-1]) + 1).tolist(),
        "eyeballs": np.flatnonzero(np.isin(rig.vertex_parts[vertex_ids], rig.eye_parts)).tolist(),
    }
    shared = {_identifier("corners", corners): corners}
    used = {name for wanted in expressions.values() for name in wanted}
    targets = {}
    for name, offsets in zip(rig.target_names.tolist(), rig.target_offsets, strict=True):
        if name in used:
            target = _packed_target(offsets[vertex_ids])
            block = _identifier("target", target)
            shared[block] = target
            targets[name] = {"block": block, "weight": round(weights[name], 5)}
    neutral = quantised(rig.neutral[vertex_ids])
    face = {**neutral, "corners": _identifier("corners", corners), "targets": targets, "expressions": expressions}
    return face, shared


def _packed_target(offsets: np.ndarray) -> dict:  # [N, 3]
    """The vertices that a target moves and their offsets in 16 bits. The same for all heads of a model."""
    moves = np.abs(offsets).max(axis=1)
    largest = max(float(moves.max()), 1e-12)
    moved = np.flatnonzero(moves > NEGLIGIBLE * largest)
    steps = np.round(offsets[moved] / largest * 32767).astype("<i2")
    return {"largest": largest, "vertices": as_base64(moved.astype("<u4")), "offsets": as_base64(steps)}


def _identifier(kind: str, data: dict) -> str:
    """The element id of a block, from its content."""
    return f"{kind}-{hashlib.sha256(json.dumps(data).encode()).hexdigest()[:20]}"
