"""The compiled functions. Importing them here gives one error message when the renderer is not built."""

try:
    from renderer._lookup import gather_texels, multiply_rows
    from renderer._rasterize import rasterize_homogeneous
    from renderer._sample import sample_footprints
except ImportError as error:
    raise ImportError(f"the renderer is not built for this Python; run: python -m renderer.build ({error})") from None

__all__ = ["gather_texels", "multiply_rows", "rasterize_homogeneous", "sample_footprints"]
