"""What OUT of evaluate.py holds."""

VIEWS, RECONSTRUCTIONS, RECONSTRUCTION_CONFIG = "views", "reconstructions", "reconstruction.yaml"
OCCLUDERS = "occluders"
OWN_FILES = (
    "results.csv", "summary.json", "summary.md", "score_against_yaw.png", "quality_against_seconds.png",
    "contact_sheet.png", VIEWS, RECONSTRUCTIONS, RECONSTRUCTION_CONFIG, OCCLUDERS, "occluders.csv", "occluders.json",
    "occluders.md", "occluders.png",
)  # fmt: skip
