"""Outside systems, one folder each, and the catalogue of what they bring (`external.assets`)."""
