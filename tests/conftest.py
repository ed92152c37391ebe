"""What holds for every test."""

import os
import sys

# A run is several interpreters: where compiled modules may not be kept each of them would compile all of ours anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
