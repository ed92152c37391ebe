"""The simulated deployment as a process that listens: `ptubench simulate`, and the body of `sim.child`.

What it answers is `sim.app`; here are sockets, signals, the log file and what is said at the start.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn

from ptubench import units
from ptubench.errors import UsageError
from ptubench.sim import faults as faulty
from ptubench.sim.app import App, Entry, Log, app
from ptubench.sim.options import SimOptions, parameters

__all__ = ["app", "end_with_stdin", "opened_log", "run", "serve", "welcome"]

LOOPBACK = "127.0.0.1"
KEEP_ALIVE = 300
"""Seconds for which an idle connection stays open: longer than a client keeps it in its pool."""

Ready = Callable[[int], None]
"""Told the port, once connections are accepted."""


class _Server(uvicorn.Server):
    """One that tells when it is ready, and leaves signals to us: uvicorn would raise them again at its end."""

    capture_signals = contextlib.nullcontext  # type: ignore[assignment]

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def serve(
    options: SimOptions,
    *,
    host: str = LOOPBACK,
    port: int = 8080,
    log: Path | None = None,
    faults: Mapping[str, float] | None = None,
    watch_stdin: bool = False,
) -> None:
    """Serve a simulated deployment until SIGINT or SIGTERM, or with `watch_stdin` until standard input ends.

    `port` 0 takes a free one. `log` gets one JSON line per completion request (`app.Entry`), after what it holds.
    `faults` are shares of the requests by kind (`sim.faults`).

    Raises:
        UsageError: the address can't be had, the log can't be written, or the key to ask for is missing.
    """
    if watch_stdin:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    url = f"http://{f'[{host}]' if ':' in host else host}"
    with opened_log(log) as write:
        run(
            app(options, write),
            host=host,
            port=port,
            faults=faults or {},
            seed=options.seed,
            ready=lambda real: print(welcome(options, f"{url}:{real}", faults or {}), file=sys.stderr, flush=True),  # noqa: T201
        )


def run(application: App, *, host: str, port: int, faults: Mapping[str, float], seed: int, ready: Ready) -> None:
    """Serve an application until SIGINT or SIGTERM (only in the main thread, where signals arrive)."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(application, host=host, port=port, faults=faults, seed=seed, ready=ready))


async def _serve(
    application: App, *, host: str, port: int, faults: Mapping[str, float], seed: int, ready: Ready
) -> None:
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=4096,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=0,
    )
    # With faults, a server that can play them has the public port, and stands before this one.
    with _listen(LOOPBACK, 0) if faults else _listen(host, port) as inner:
        address: tuple[str, int] = inner.getsockname()[:2]
        async with _fronted(address, faults, seed=seed, host=host, port=port) as public:
            server = _Server(config, lambda: ready(public))
            with _ended_by_signals(server):
                await server.serve(sockets=[inner])


@contextlib.asynccontextmanager
async def _fronted(
    address: tuple[str, int], faults: Mapping[str, float], *, seed: int, host: str, port: int
) -> AsyncIterator[int]:
    """The public port: of the server that plays faults if there are any, else that of `address`."""
    if not faults:
        yield address[1]
        return
    try:
        public = await faulty.front(faults, address, seed=seed, host=host, port=port)
    except (OSError, OverflowError) as exc:
        raise _unavailable(host, port, exc) from None
    try:
        yield public.sockets[0].getsockname()[1]
    finally:
        public.close()


def end_with_stdin() -> None:
    """Wait until standard input ends, then end this process at once, whatever its event loop is doing."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 65536):
            pass
    os._exit(0)


@contextlib.contextmanager
def opened_log(path: Path | None) -> Iterator[Log | None]:
    """What writes log entries to a file, each line complete on disk when its request is over; None without a file."""
    if path is None:
        yield None
        return
    encoder = msgspec.json.Encoder()
    try:
        file = path.open("ab", buffering=0)
    except OSError as exc:
        raise UsageError(f"--log {path}: {exc.strerror}; name a file in a folder that can be written") from None

    def write(entry: Entry) -> None:
        file.write(encoder.encode(entry) + b"\n")

    with file:
        yield write


def welcome(options: SimOptions, url: str, faults: Mapping[str, float]) -> str:
    """What is simulated, what of it is assumed, and two lines to try it with."""
    capacity, name, key_env = options.capacity, options.deployment or options.model, options.key_env
    standard = options.type == "standard"
    kind, size = ("standard", "") if standard else ("PTU", f"{options.ptu} PTU, ")
    takes = f"{units.number_text(capacity.tpm)} {'' if standard else 'normalized '}tokens a minute ({capacity.source})"
    lines = [f"SIMULATED {kind} deployment: {options.served}, {size}{takes}"]
    for parameter in parameters()[2:]:
        value = getattr(options, parameter.name)
        if parameter.assumed or value != parameter.default:
            assumed = " [assumed]" if parameter.assumed else ""
            shown = f"{value:g}" if isinstance(value, float) else value
            lines.append(f"  {parameter.name} = {shown}: {parameter.help}{assumed}")
    lines += [f"  fault {kind}: {units.share_text(share)} of the requests" for kind, share in faults.items()]
    run_line = f"ptubench run chat --endpoint {url}/openai/v1/ --deployment {name} --model {options.model}"
    body = f'{{"model":"{name}","stream":true,"messages":[{{"role":"user","content":"Answer in 20 tokens."}}]}}'
    what = "--type standard" if standard else f"--ptu {options.ptu}"
    key = f' -H "api-key: ${key_env}"' if key_env else ""
    return "\n".join(
        [
            *lines,
            f"Listening on {url} until Ctrl-C. In another terminal:",
            f"  {run_line} {what}{f' --key-env {key_env}' if key_env else ''}",
            f"  curl -N {url}/openai/v1/chat/completions{key} -H 'content-type: application/json' -d '{body}'",
        ]
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=4096)
    except (OSError, OverflowError) as exc:
        raise _unavailable(host, port, exc) from None


def _unavailable(host: str, port: int, exc: Exception) -> UsageError:
    reason = getattr(exc, "strerror", None) or str(exc)
    return UsageError(f"--host {host} --port {port}: {reason}; name another address, or port 0 for a free one")


@contextlib.contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        # Streams that our own end cuts off are no errors.
        logging.getLogger("uvicorn.error").disabled = True
        server.should_exit = True

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    watched = [signal.SIGTERM] if ignored else [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, stop) for number in watched}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
