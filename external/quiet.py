"""Silences native libraries that write directly to the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def silence_native_logs() -> None:
    """Keeps TensorFlow's and MediaPipe's log lines below fatal errors off the terminal, where the user has not set them."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def quiet_native_output() -> Iterator[None]:
    """Discards output to file descriptor 2 inside the `with` block. Python exceptions still propagate."""
    sys.stderr.flush()
    saved = os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(devnull)
