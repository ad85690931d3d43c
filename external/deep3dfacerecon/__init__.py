"""3D faces from single photos by Deep3DFaceRecon (Deng et al. 2019; PyTorch version by Yu et al., sicxu) on BFM09.

`alignment` makes the network's crop, `network` predicts 257 coefficients, `face_model` computes shape, colours and pose
from them, `reconstruction` mesh and camera of the original photo. `morphable_model` makes the face model's file from
the Basel Face Model 2009. This project includes neither the face model nor the weights: users obtain both under their
own licences, for non-commercial research.
"""

from external.deep3dfacerecon.alignment import align
from external.deep3dfacerecon.face_model import FaceModel
from external.deep3dfacerecon.morphable_model import load_face_model, make_face_model
from external.deep3dfacerecon.network import ReconstructionNetwork, load_network
from external.deep3dfacerecon.reconstruction import reconstruct

__all__ = [
    "FaceModel",
    "ReconstructionNetwork",
    "align",
    "load_face_model",
    "load_network",
    "make_face_model",
    "reconstruct",
]
