"""Silence for native libraries that write to the terminal around Python."""

import os
import sys
from contextlib import contextmanager


@contextmanager
def quiet_native_output():
    """Sends what is written to file descriptor 2 in the block to nowhere. Python's own errors still pass as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
