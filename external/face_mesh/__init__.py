"""Face geometry from MediaPipe Face Mesh (Kartynnik et al. 2019; the attention model of Grishchenko et al. 2020).

`landmarks` finds the points in a photo, `template` is our own surface over them, `reconstruction` makes mesh and
camera, `face_mask` excludes hair and other objects in front of the face. The mediapipe wheel (Apache-2.0) contains the
models.
"""
