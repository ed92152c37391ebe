"""The command line: options in, exit code out. Decides nothing; every command's work is in `commands`.

Results go to standard output, progress and warnings to standard error.
"""

try:
    from ptubench.cli.main import main
except KeyboardInterrupt:  # while it imports, nothing has begun that would have to be ended in order
    raise SystemExit(130) from None

__all__ = ["main"]
