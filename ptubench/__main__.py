"""`python -m ptubench` is the `ptubench` command."""

from ptubench.cli import main

if __name__ == "__main__":
    main()
