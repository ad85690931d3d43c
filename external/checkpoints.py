"""Reads network weights from published files without executing code in them."""

from pathlib import Path

import torch
from torch import Tensor

from external.errors import first_line, shortened

# Largest file size, in multiples of the wanted weights. Published files may also contain optimiser states or unused
# layers (VGG16's classifier is eight times as large as its convolutions).
LARGEST_SIZE_RATIO = 10


def read_weights(
    path: str | Path, wanted: dict[str, Tensor], network: str, origin: str, key: str | None = None, prefix: str = ""
) -> dict[str, Tensor]:
    """Reads a network's weights from a PyTorch file onto the CPU; unpickles only tensors and plain containers.

    path: a file with a state dict or, with `key`, a dict with a state dict under this key. wanted: the network's
    state dict, for names and shapes (on any device, including "meta"). network: its name, for messages. origin: where
    to get the file, for messages. prefix: of the file's names; entries with other names are ignored.
    Returns a state dict with exactly the names of `wanted`.
    Raises FileNotFoundError; ValueError where the file has no weights, is damaged, is far too large or belongs to
    another network. The message names the file and the first entries that differ.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get {origin} and put it there")
    expected = f"need {origin}"
    weights_size = sum(tensor.nbytes for tensor in wanted.values())
    size = path.stat().st_size
    if size > LARGEST_SIZE_RATIO * weights_size + 2**20:
        raise ValueError(f"{path}: has {size / 2**20:.0f} MiB, {network} {weights_size / 2**20:.0f} MiB; {expected}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the unpickler raise
        reason = first_line(error)
        raise ValueError(f"{path}: not a file of PyTorch weights or damaged ({reason}); {expected}") from error
    if key is not None:
        if not isinstance(state, dict) or not isinstance(state.get(key), dict):
            held = ", ".join(map(str, list(state)[:3])) if isinstance(state, dict) else type(state).__name__
            raise ValueError(f"{path}: not {network}: no dict '{key}' in it (it holds {held or 'nothing'}); {expected}")
        state = state[key]
    wanted_in_file = {prefix + name: tensor for name, tensor in wanted.items()}
    problems = _differences(state if isinstance(state, dict) else {}, wanted_in_file, prefix)
    if problems:
        raise ValueError(f"{path}: not {network}: {shortened(problems)}; {expected}")
    return {name: state[prefix + name] for name in wanted}


def _differences(state: dict, wanted: dict[str, Tensor], prefix: str) -> list[str]:
    """How a state dict differs from the wanted one, in words; [] where it matches."""
    problems = []
    for name, tensor in wanted.items():
        given = state.get(name)
        if not isinstance(given, Tensor):
            problems.append(f"{name} is missing")
        elif given.shape != tensor.shape:
            problems.append(f"{name} is {list(given.shape)}, not {list(tensor.shape)}")
        elif not given.isfinite().all():
            problems.append(f"{name} holds values that are not finite numbers")
    extra = [name for name in state if name not in wanted and str(name).startswith(prefix)]
    return problems + [f"{name} is not part of it" for name in extra]
