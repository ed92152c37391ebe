"""Whether a run can be put on a Dask cluster, as far as that can be told without asking it. Needs nothing of Dask."""

import re
from collections.abc import Sequence
from importlib.util import find_spec

from ptubench.errors import UsageError
from ptubench.secret import shown
from ptubench.target.model import Target

_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


def check(on: str | None, *, workers: str, targets: Sequence[Target]) -> None:
    """Check what `--on` asks for, before anything is started.

    Args:
        on: a scheduler's address; None for this machine.
        workers: as `--workers` was given.
        targets: where the load goes.

    Raises:
        UsageError: no address of a scheduler, a missing extra, or what a cluster can't do.
    """
    if on is None:
        return
    if not _ADDRESS.fullmatch(on):
        raise UsageError(
            f"--on {shown(on)}: not the address of a Dask scheduler; write tcp://HOST:8786, or tls://HOST:8786"
        )
    if find_spec("distributed") is None:
        raise UsageError("--on: dask.distributed is not installed; in the folder of ptubench: pip install -e '.[dask]'")
    if workers != "1":
        raise UsageError(
            "--workers: each Dask worker is one process that makes load; leave it out, and start more of them"
        )
    if any(target.simulate is not None for target in targets):
        raise UsageError(
            "--on: a simulated deployment of the run listens on this machine only; start one that all nodes reach with "
            "`ptubench simulate --host`, and name it with --endpoint"
        )
