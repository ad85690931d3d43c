"""Scores of textures, above all on skin that the photo does not show. `evaluate.py` is the program.

    arguments     the command line
    reprojection  truth from a photo, and pictures of it with known geometry
    methods       what is compared: fills, completion, configs, the published choices, finished textures, planted defects
    published     the published algorithm's choices
    defects       planted defects, which the scores have to see
    measures      scores of one texture
    identity      distances between faces (dlib, ArcFace)
    perceptual    LPIPS, where its weights are there
    views         one view of one photo: textures and scores, kept on disk
    statistics    means, intervals, paired differences
    tables        results.csv, summary.json, summary.md
    pictures      plots and the contact sheet
"""
