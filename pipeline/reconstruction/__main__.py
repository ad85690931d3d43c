"""`python -m pipeline.reconstruction`: see `program`."""

import os
import signal
import sys

# Before NumPy is loaded: its threads spin while they wait. Beside other work, fitting heads took six times the processor time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while modules are loaded

from pipeline.reconstruction.program import main
from pipeline.settings.command_line import run_main

run_main(lambda: main(sys.argv[1:]))
