"""Texture refinement by style transfer: STROTSS content and style losses held to the photo by a rendering loss.

This package knows textures and a render function. It knows nothing of faces, files or detectors.
Textures are tensors [1, 3, H, W], RGB, 0..1; texel (row i, column j) has integer coordinates (i, j) at its centre.
"""
