"""The command line: options in, exit code out. Decides nothing; every command's work is in `commands`.

Results go to standard output, progress and warnings to standard error.
"""

from ptubench.cli.main import main

__all__ = ["main"]
