"""Makes BFM_model_front.mat, the face model's file, from the Basel Face Model 2009 and the expression basis.

Of the 53490 vertices of the Basel Face Model, 53215 have expressions, and 35709 of these form the face; public index
files list them (Deep3DFaceRecon, util/load_mats.py).
"""

import os
from pathlib import Path

import numpy as np
from scipy.io import savemat

from external.deep3dfacerecon.face_model import BASES, FRONT_INDEX_FILE, MODEL_FILE, FaceModel
from external.deep3dfacerecon.mat_files import read_mat, vertex_ids

MORPHABLE_MODEL_FILE, EXPRESSION_FILE = "01_MorphableModel.mat", "Exp_Pca.bin"
EXPRESSION_INDEX_FILE, DEVIATIONS_FILE, INFO_FILE = "BFM_exp_idx.mat", "std_exp.txt", "facemodel_info.mat"
SOURCE_FILES = (
    MORPHABLE_MODEL_FILE, EXPRESSION_FILE, EXPRESSION_INDEX_FILE, FRONT_INDEX_FILE, INFO_FILE, DEVIATIONS_FILE,
)  # fmt: skip
INFO = ("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask")  # copied unchanged
MICROMETRES = 1e5  # per decimetre
LARGEST_EXPRESSION_COUNT = 1000

_PUBLIC_ORIGIN = "the file of that name (folder BFM of github.com/sicxu/Deep3DFaceRecon_pytorch)"


def load_face_model(folder: str | Path) -> FaceModel:
    """Loads BFM_model_front.mat from a folder; makes it from the source files in the folder if it does not exist.

    Raises FileNotFoundError naming all missing files; ValueError.
    """
    folder = Path(folder)
    if not (folder / MODEL_FILE).is_file():
        make_face_model(folder)
    return FaceModel(folder / MODEL_FILE)


def make_face_model(folder: Path) -> Path:
    """Writes BFM_model_front.mat into a folder; an existing file is replaced once the new one is complete.

    The folder contains 01_MorphableModel.mat of the Basel Face Model 2009 (shapePC [3N, K], shapeEV, shapeMU in
    micrometres; texPC, texEV, texMU in 0..255), Exp_Pca.bin (int32 count K; float32 mean [3M] and basis [K, 3M]),
    BFM_exp_idx.mat, BFM_front_idx.mat, facemodel_info.mat and std_exp.txt.
    Returns the file's path. Raises FileNotFoundError naming all missing files; ValueError naming the file that does not
    match and how.
    """
    missing = [name for name in SOURCE_FILES if not (folder / name).is_file()]
    if missing:
        needed = f"{', '.join(missing)} must also be in this folder"
        raise FileNotFoundError(f"{folder} has no {MODEL_FILE}; to make it, {needed}")
    morphable_model, expression = folder / MORPHABLE_MODEL_FILE, folder / EXPRESSION_FILE
    trimmed = read_mat(folder / EXPRESSION_INDEX_FILE, ("trimIndex",), _PUBLIC_ORIGIN)["trimIndex"]
    front = read_mat(folder / FRONT_INDEX_FILE, ("idx",), _PUBLIC_ORIGIN)["idx"]
    info = read_mat(folder / INFO_FILE, INFO, _PUBLIC_ORIGIN)
    origin = f"{MORPHABLE_MODEL_FILE} of the Basel Face Model 2009 (faces.dmi.unibas.ch/bfm)"
    names = ("shapePC", "shapeEV", "shapeMU", "texPC", "texEV", "texMU")
    basel = read_mat(morphable_model, names, origin)

    problems = []
    full_count = basel["shapeMU"].size // 3
    for kind, used in (("shape", BASES["idBase"]), ("tex", BASES["texBase"])):
        basis, deviations, mean = (basel[kind + part] for part in ("PC", "EV", "MU"))
        if mean.size != 3 * full_count or full_count == 0:
            problems.append(f"{kind}MU is {list(mean.shape)}, not [{3 * full_count}]")
        if basis.ndim != 2 or len(basis) != 3 * full_count or basis.shape[1] < used:
            problems.append(f"{kind}PC is {list(basis.shape)}, not [{3 * full_count}, {used} or more]")
        elif deviations.size != basis.shape[1]:
            problems.append(f"{kind}EV is {list(deviations.shape)}, not [{basis.shape[1]}]")
    _raise_problems(morphable_model, problems)
    trimmed = vertex_ids(trimmed, "trimIndex", (-1,), full_count, problems)
    _raise_problems(folder / EXPRESSION_INDEX_FILE, problems)
    front = vertex_ids(front, "idx", (-1,), len(trimmed), problems)
    _raise_problems(folder / FRONT_INDEX_FILE, problems)
    expression_basis = _read_expressions(expression, len(trimmed))
    deviations = _read_deviations(folder / DEVIATIONS_FILE, len(expression_basis))

    rows, used = trimmed[front], BASES["exBase"]
    # Select rows first: the complete bases would take gigabytes in double precision.
    expression_rows = expression_basis[:used].reshape(used, -1, 3)[:, front].reshape(used, -1).T
    content = {
        "meanshape": basel["shapeMU"].reshape(-1, 3)[rows].reshape(1, -1) / MICROMETRES,
        "meantex": basel["texMU"].reshape(-1, 3)[rows].reshape(1, -1),
        "idBase": _scaled_rows(basel["shapePC"], basel["shapeEV"], rows, BASES["idBase"]) / MICROMETRES,
        "exBase": expression_rows * deviations[:used] / MICROMETRES,
        "texBase": _scaled_rows(basel["texPC"], basel["texEV"], rows, BASES["texBase"]),
    }
    content = {name: array.astype(np.float32) for name, array in content.items()}
    partial = folder / f"{MODEL_FILE}.partial-{os.getpid()}"
    try:
        with partial.open("wb") as file:
            savemat(file, {**content, **{name: info[name] for name in INFO}})
        try:
            FaceModel(partial)
        except ValueError as error:
            given = f"{morphable_model}, {expression} and {folder / INFO_FILE}"
            raise ValueError(f"{given} do not match each other: {str(error).partition(': ')[2]}") from error
        return partial.replace(folder / MODEL_FILE)
    finally:
        partial.unlink(missing_ok=True)


def _raise_problems(path: Path, problems: list[str]) -> None:
    """Raises ValueError if there are problems with a file."""
    if problems:
        raise ValueError(f"{path}: does not match: {', '.join(problems[:3])}")


def _scaled_rows(basis: np.ndarray, deviations: np.ndarray, vertices: np.ndarray, used: int) -> np.ndarray:
    """Rows of vertices [M] and first `used` columns of a basis [3N, K], times their standard deviations [K].

    Returns [3M, used] float64.
    """
    rows = basis.reshape(-1, 3, basis.shape[1])[vertices, :, :used].astype(np.float64)
    return rows.reshape(-1, used) * deviations.reshape(-1)[:used]


def _read_expressions(path: Path, count: int) -> np.ndarray:
    """The basis [K, 3 count] float32 of an Exp_Pca.bin. Its mean expression is not used, as in the published code."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = np.fromfile(file, dtype="<i4", count=1)
        components = int(header[0]) if len(header) else 0
        allowed = range(BASES["exBase"], LARGEST_EXPRESSION_COUNT + 1)
        wanted = 4 + 4 * 3 * count * (components + 1)
        if components not in allowed or size != wanted:
            needed = f"{wanted} for {components} expressions"
            if components not in allowed:
                needed = f"a count of {allowed[0]} to {allowed[-1]} expressions at its start, not {components}"
            raise ValueError(f"{path}: has {size} bytes; need an {EXPRESSION_FILE} of {count} vertices: {needed}")
        file.seek(4 * 3 * count, os.SEEK_CUR)
        return np.fromfile(file, dtype="<f4", count=components * 3 * count).reshape(components, 3 * count)


def _read_deviations(path: Path, count: int) -> np.ndarray:
    """The standard deviations [count] float64 of a std_exp.txt. Raises ValueError."""
    try:
        deviations = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: is not a list of numbers ({error}); need {_PUBLIC_ORIGIN}") from error
    if len(deviations) != count:
        raise ValueError(f"{path}: has {len(deviations)} numbers; {count} are needed, one for each expression")
    return deviations
