"""From photos to reconstruction folders: `python -m pipeline.reconstruction`.

    program   the stage
    photos    which photos and faces a command line names
    images    pixels of photos and images
    detect    the faces of a photo
    systems   what makes mesh and camera of a face
    folder    the reconstruction folder (docs/contract.md); rig: its rig.npz
"""
