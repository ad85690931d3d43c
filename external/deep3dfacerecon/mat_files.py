"""Reads MATLAB files of face models, with errors that name the file and the entry."""

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from external.errors import first_line, shortened


def read_mat(path: str | Path, names: tuple[str, ...], origin: str) -> dict[str, np.ndarray]:
    """Reads the named arrays of a MATLAB file. origin: what the file is and where to get it, for messages.

    Raises FileNotFoundError; ValueError where the file is not a MATLAB file, is damaged, or lacks a name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; need {origin}")
    try:
        # Without appendmat=False, scipy could read a file of another name instead.
        content = loadmat(str(path), appendmat=False, variable_names=names)
    except Exception as error:  # whatever a damaged file makes scipy raise
        reason = first_line(error)
        raise ValueError(f"{path}: not a MATLAB file (version 4 to 7) or damaged ({reason}); need {origin}") from error
    missing = [name for name in names if not isinstance(content.get(name), np.ndarray)]
    if missing:
        raise ValueError(f"{path}: no array {shortened(missing)} in it; need {origin}")
    return content


def vertex_ids(array: np.ndarray, name: str, shape: tuple[int, ...], limit: int, problems: list[str]) -> np.ndarray:
    """Converts MATLAB's 1-based ids, 1..limit, to 0-based ids, int64 of this shape (-1: any length).

    Adds errors to `problems`; the result is then empty.
    """
    rows = array.reshape(-1) if len(shape) == 1 else array
    fits = rows.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, rows.shape, strict=True))
    if not fits or rows.size == 0 or rows.dtype.kind not in "fiu":
        wanted = ", ".join("N" if length < 0 else str(length) for length in shape)
        problems.append(f"{name} is {list(array.shape)}, not [{wanted}] numbers")
    elif not (rows.min() >= 1 and rows.max() <= limit and (rows == np.floor(rows)).all()):
        problems.append(f"{name} holds {rows.min()} to {rows.max()}, not whole numbers from 1 to {limit}")
    else:
        return rows.astype(np.int64) - 1
    return np.zeros(0, dtype=np.int64)
