"""The two stages of a run and what they share.

`python -m pipeline.reconstruction` turns photos into reconstruction folders; `refine.py` turns those into textures. Shared
by both: `config` (all settings), `photos` (which photos, and their pixels) and `run_folder` (what is written where, so
that no kill leaves a half result).
"""
