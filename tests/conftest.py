"""What holds for every test."""

import os
import signal
import sys
import tempfile
from pathlib import Path

from hypothesis import settings

from ptubench.cli import show, size

# A run is several interpreters: where compiled modules may not be kept each of them would compile all of ours anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# For matrices as small as ours a second thread only spins, and takes the core that a run needs.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# In a shell's background Ctrl-C is ignored, and would be by all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What `ptubench doctor` once measured here must not have a word in a test.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"ptubench-no-cache-{os.getpid()}")
os.environ.pop("LOCALAPPDATA", None)

# A machine that stalls makes no example wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Nor does it make a command that a test calls in this process say what it is busy with.
show._PATIENCE = size._PATIENCE = 3600.0
