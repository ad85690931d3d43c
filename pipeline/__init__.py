"""The two stages of a run, in rooms that import downwards only.

    texture          reconstruction folder -> texture, head and pictures (refine.py)
    reconstruction   photo -> reconstruction folder (`python -m pipeline.reconstruction`)
    runs             many photos: run folder, manifest, resuming, jobs, backends, progress
    settings         schema and reading of settings, command line, user errors
"""
