"""Network weights from files that others have published, read without running what is in them."""

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

# Times the size of the wanted weights: published files also hold optimiser states, or layers that are not wanted
# (VGG16's classifier is eight times as large as its convolutions), not more than that.
HUGE = 10

_LOADER_ERRORS = (
    pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, LookupError, AttributeError,
    TypeError, OSError, MemoryError, AssertionError, ImportError,
)  # fmt: skip


def read_weights(
    path: str | Path, wanted: dict[str, Tensor], network: str, origin: str, key: str | None = None, prefix: str = ""
) -> dict[str, Tensor]:
    """The weights of a network, on the CPU, from a PyTorch file; only tensors and plain containers are ever unpickled.

    path: the file, a state dict or, with `key`, a dict that holds one under this key. wanted: the network's own
    state dict, for names and shapes (on any device, "meta" too). network: its name, for messages. origin: where the
    file comes from, likewise. prefix: what the file's names begin with; entries with other names are passed over.
    Returns a state dict with exactly the names of `wanted`.
    Raises FileNotFoundError: no such file. ValueError: no file of weights, damaged, far too large or of another
    network; names the file and the first entries that differ.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; get {origin} and put it there")
    expected = f"need {origin}"
    weights_size = sum(tensor.nbytes for tensor in wanted.values())
    size = path.stat().st_size
    if size > HUGE * weights_size + 2**20:
        raise ValueError(f"{path}: has {size / 2**20:.0f} MiB, {network} {weights_size / 2**20:.0f} MiB; {expected}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _LOADER_ERRORS as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a file of PyTorch weights or damaged ({reason}); {expected}") from error
    if key is not None:
        if not isinstance(state, dict) or not isinstance(state.get(key), dict):
            held = ", ".join(map(str, list(state)[:3])) if isinstance(state, dict) else type(state).__name__
            raise ValueError(f"{path}: not {network}: no dict '{key}' in it (it holds {held or 'nothing'}); {expected}")
        state = state[key]
    wanted_in_file = {prefix + name: tensor for name, tensor in wanted.items()}
    problems = _differences(state if isinstance(state, dict) else {}, wanted_in_file, prefix)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{path}: not {network}: {', '.join(problems[:3])}{more}; {expected}")
    return {name: state[prefix + name] for name in wanted}


def _differences(state: dict, wanted: dict[str, Tensor], prefix: str) -> list[str]:
    problems = []
    for name, tensor in wanted.items():
        given = state.get(name)
        if not isinstance(given, Tensor):
            problems.append(f"{name} is missing")
        elif given.shape != tensor.shape:
            problems.append(f"{name} is {list(given.shape)}, not {list(tensor.shape)}")
        elif not given.isfinite().all():
            problems.append(f"{name} holds values that are no finite numbers")
    extra = [name for name in state if name not in wanted and str(name).startswith(prefix)]
    return problems + [f"{name} is not part of it" for name in extra]
