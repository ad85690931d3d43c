"""`python -m pipeline.reconstruction`: see `program`."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while modules are loaded

from pipeline.reconstruction.program import main
from pipeline.settings.command_line import run_main

run_main(lambda: main(sys.argv[1:]))
