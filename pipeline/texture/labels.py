"""Labels of a photo's pixels."""

SKIN, HAIR, GLASSES, OTHER, BACKGROUND = range(5)
