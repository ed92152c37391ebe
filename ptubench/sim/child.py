"""A simulated deployment in a child process: `python -m ptubench.sim.child`.

Standard input: one JSON line, the options as `options.from_mapping` takes them, beside them `log` (a path) and
`faults` (shares by kind), both optional. Standard output: one JSON line, {"port": N} once 127.0.0.1 accepts
connections, or {"error": SENTENCE}. It lives as long as standard input stays open, so that it dies with its parent,
however the parent dies. SIGINT is ignored: Ctrl-C reaches the whole group, and the parent decides.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from ptubench.errors import UsageError
from ptubench.sim import options
from ptubench.sim.server import LOOPBACK, app, end_with_stdin, opened_log, run


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Unbuffered, so that nothing after the first line is taken from the thread that watches.
    line = bytearray()
    while (byte := os.read(0, 1)) not in {b"", b"\n"}:
        line += byte
    try:
        _serve(msgspec.json.decode(bytes(line), type=dict[str, Any]))
    except UsageError as exc:
        _say(error=str(exc))
        sys.exit(exc.exit_code)


def _serve(values: dict[str, Any]) -> None:
    log, faults = values.pop("log", None), values.pop("faults", {})
    simulated = options.from_mapping(values, where="simulated deployment")
    threading.Thread(target=end_with_stdin, daemon=True).start()
    with opened_log(None if log is None else Path(log)) as write:
        run(
            app(simulated, write),
            host=LOOPBACK,
            port=0,
            faults=faults,
            seed=simulated.seed,
            ready=lambda port: _say(port=port),
        )


def _say(**values: object) -> None:
    sys.stdout.write(msgspec.json.encode(values).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
