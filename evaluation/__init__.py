"""Scores of textures, above all on skin that the photo does not show. `evaluate.py` is the program.

    options        the command line
    inputs         reconstruction folders, and photos, which are reconstructed first
    layout         what OUT holds
    reprojection   truth from a photo, and pictures of it with known geometry
    shared         the face that face mask and head share, in either layout
    native         finished runs against their photos, on that face: python -m evaluation.native
    prepared       what all methods start from: unwrapped, fitted, completed
    methods        what is compared: fills, completion, configs, published choices, finished textures, planted defects
    published      the published algorithm's choices
    defects        planted defects, which the scores have to see
    measures       scores of one texture
    identity       distances between faces (dlib, ArcFace)
    perceptual     LPIPS, where AlexNet's weights are given
    views          one view of one photo: textures and scores, kept on disk
    batch          all views of a run, divided among processes
    masks          masks scored under things that are drawn over photos, of which is known what they hide
    mask_run       all these pictures of a run, and their tables
    occluders      what is drawn: fringes, hats, glasses, microphones; hands: hands
    layers         surfaces, strands, shadows, sharpness and noise of what is drawn
    face_frame     a face in its photo, in millimetres: places, light and skin
    statistics     means, intervals, paired differences
    tables         results.csv, summary.json, summary.md
    plots          plots and the contact sheet
"""
