"""From reconstruction folders to textures. `refine_photo` of refine.py calls these in order.

    tasks         what is to be done for each face
    sampled       I_S: the photo unwrapped and fitted
    initial       I_C: a content image, or the completion (completion, relight)
    refined       I_X: the refinement
    comparison    the rendering that textures are compared with the photo in
    results       the files of a photo (export, makehuman, preview, provenance, scores, tensorboard_log)
"""
