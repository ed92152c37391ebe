"""Child processes that end with us: each holds the reading end of a pipe and exits when it closes."""

import asyncio
import contextlib
import os
import sys
from typing import NamedTuple

_PIECE = 2**20  # bytes that are read at once, at most
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""For a child's environment: with the C library of most Linux systems, what is larger goes back to the system when it is freed.
Left to itself that library keeps some tens of megabytes for the next answer without an end; others pass it over."""


class Child(NamedTuple):
    """A started process and its pipes; a `Link` to it, if it is a load worker."""

    process: asyncio.subprocess.Process
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader

    @property
    def name(self) -> str:
        """Of its machine, which is ours."""
        return ""

    @property
    def ahead(self) -> float:
        """By how much its clock is ahead of ours: all processes of a machine share one."""
        return 0.0

    def write(self, line: bytes) -> None:
        """Say a line to it; one that has ended misses nothing."""
        with contextlib.suppress(OSError, RuntimeError):
            self.stdin.write(line)

    async def read(self) -> bytes:
        """What it said since; empty once it has ended."""
        return await self.stdout.read(_PIECE)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


async def spawn(module: str, first_line: bytes | None = None) -> Child:
    """Start `python -m MODULE` and hand it its first line (secrets travel there, never as arguments)."""
    process = await asyncio.create_subprocess_exec(
        # -P: a file of the user's folder must not stand in for a module of ours.
        *(sys.executable, "-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Signals to the group (Ctrl-C, a closed terminal, `timeout`) are for the parent: it ends the child in order.
        start_new_session=True,
        env=MALLOC | os.environ,
    )
    assert process.stdin is not None  # noqa: S101 - asked for
    assert process.stdout is not None  # noqa: S101 - asked for
    if first_line is not None:
        process.stdin.write(first_line + b"\n")
    return Child(process, process.stdin, process.stdout)


async def end(child: Child, *, patience: float = 1.0) -> None:
    """Close the pipe, wait, and kill what does not listen."""
    child.stdin.close()
    try:
        async with asyncio.timeout(patience):
            await child.process.wait()
    except TimeoutError:
        child.process.kill()
        await child.process.wait()


def cores() -> int:
    """How many cores this process may use, where the system tells; else how many there are."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
