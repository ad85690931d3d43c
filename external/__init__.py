"""External systems, one folder each, and the catalogue of their assets (`external.assets`)."""
