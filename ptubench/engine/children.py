"""Child processes that end with us: each holds the reading end of a pipe and exits when it closes."""

import asyncio
import sys
from typing import NamedTuple


class Child(NamedTuple):
    """A started process and its pipes."""

    process: asyncio.subprocess.Process
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader


async def spawn(module: str, first_line: bytes | None = None) -> Child:
    """Start `python -m MODULE` and hand it its first line (secrets travel there, never as arguments)."""
    process = await asyncio.create_subprocess_exec(
        # -P: a file of the user's folder must not stand in for a module of ours.
        *(sys.executable, "-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Signals to the group (Ctrl-C, a closed terminal, `timeout`) are for the parent: it ends the child in order.
        start_new_session=True,
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
