"""A target made ready for load: its simulated deployment started, its token had, its probe call answered.

A run has one of these, or two where requests are diverted after a 429.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import msgspec

from ptubench.azure import cloud
from ptubench.client import auth, connect
from ptubench.client.make import make_client
from ptubench.engine.children import end, spawn
from ptubench.engine.keys import Ask, Keys
from ptubench.engine.probe import Probe, probe
from ptubench.errors import MeasurementLost, UsageError
from ptubench.target import address
from ptubench.target.model import Target
from ptubench.target.resolve import simulated
from ptubench.units import duration_text
from ptubench.workload.model import Workload

_STATE_WAIT, _MOST_STATE = 10.0, 2**20  # seconds and bytes for the simulated deployment's account of itself


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A target as it was resolved, and what requests to it prove themselves with."""

    target: Target
    headers: dict[str, str]
    """Request headers with the secrets; without a token, which is asked for later."""
    credential: auth.Credential | None
    """Where tokens are asked for; None for a key or nothing."""
    cloud_said: bool = False
    """Whether the cloud was named, and not only told by the address."""


def aimed(target: Target, headers: dict[str, str], *, cloud_said: bool, env: Mapping[str, str]) -> Aim:
    """A target with what this machine has to prove itself: these headers, and Azure's default credential where it asks for one.

    Raises:
        UsageError: the extra for it is not installed.
    """
    which = cloud.CLOUDS[target.cloud or "public"]
    authority = cloud.authority(which, said=cloud_said, env=env)
    credential = auth.default_credential(authority) if target.auth == "entra" else None
    return Aim(target=target, headers=headers, credential=credential, cloud_said=cloud_said)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A target that answered."""

    target: Target
    """With its address, also where it is simulated."""
    keys: Keys
    found: Probe
    warnings: tuple[str, ...]
    """What was found that does not keep the load from beginning."""


async def reach(
    aim: Aim,
    workload: Workload,
    stack: contextlib.AsyncExitStack,
    *,
    ca_file: str | None,
    say: Callable[[str], None],
) -> Reached:
    """Start what must be started (the stack ends it), get a token, and send the probe call.

    Raises:
        TargetRefused: no load makes sense; one sentence says why.
        UsageError: the simulated deployment or the client can't be used as they are described.
    """
    target = aim.target
    if target.simulate is not None:
        target = await stack.enter_async_context(_simulator(target))
    keys = Keys(aim.headers, asking(aim.credential, target), say)
    await keys.renew()
    through = connect.address(target.url, ca_file=ca_file, env=os.environ).proxy
    found = await probe(
        lambda: make_client(
            workload.client,
            url=target.url,
            api=target.api,
            headers=keys.headers,
            timeouts=workload.timeouts,
            stream=workload.stream,
            ca_file=ca_file,
            env=os.environ,
            max_connections=1,
        ),
        target,
        workload,
        proxy=None if through is None or ":" in workload.client else through.name,  # one's own client does as it likes
    )
    seen = found.simulated or await _simulated_behind(workload, target)
    if seen is not None:
        target = _seen_simulated(target, seen)
    warnings = (*found.warnings, _ends_early(target, keys.headers, workload.duration))
    return Reached(target=target, keys=keys, found=found, warnings=tuple(filter(None, warnings)))


def _ends_early(target: Target, headers: Mapping[str, str], duration: float) -> str | None:
    """That a ready token, which nobody renews, ends before the load."""
    if target.auth != "token":
        return None
    end = auth.ends(headers["authorization"].removeprefix("Bearer "))
    left = None if end is None else end - time.time()
    if left is None or left > duration:
        return None
    when = f"ends in {duration_text(round(left))}, before the load does" if left > 1 else "has ended"
    return f"the token in {target.key_env} {when}, and is not renewed; set a new one, or use --auth entra"


def asking(credential: auth.Credential | None, target: Target) -> Ask | None:
    """Where the tokens of a target come from."""
    return None if credential is None else partial(auth.bearer, credential, target)


@contextlib.asynccontextmanager
async def _simulator(target: Target) -> AsyncIterator[Target]:
    """Start the simulated deployment of this run, and end it afterwards."""
    child = await spawn("ptubench.sim.child", msgspec.json.encode(target.simulate))
    try:
        line = await child.stdout.readline()
        if not line:
            raise MeasurementLost("the simulated deployment did not start")
        said = msgspec.json.decode(line)
        if "error" in said:
            raise UsageError(said["error"])
        yield simulated(target, said["port"])
    finally:
        await end(child)


def _seen_simulated(target: Target, text: str) -> Target:
    """An endpoint whose answers say that they are simulated is reported so, however it was named."""
    model, _, ptu = text.partition(":")
    known = msgspec.structs.replace(target, kind="simulated", model=target.model or model)
    if known.ptu is None and re.fullmatch(r"[1-9][0-9]{0,8}", ptu):
        known = msgspec.structs.replace(known, ptu=int(ptu), ptu_source="the simulated deployment says so")
    if known.type is None and known.ptu is None and ptu == "standard":
        known = msgspec.structs.replace(known, type="standard")
    return known


async def _simulated_behind(workload: Workload, target: Target) -> str | None:
    """MODEL:PTU of a simulated deployment on this machine behind the user's own client, which shows no headers."""
    if ":" not in workload.client or not address.parse(target.url, "target").loopback:
        return None
    state = await simulated_state(target) or {}
    return f"{state['model']}:{state['ptu']}" if state.keys() >= {"model", "ptu"} else None


async def simulated_state(target: Target) -> dict[str, Any] | None:
    """A simulated deployment's own account; None where it gives none that can be read."""
    url = httpx2.URL(target.url).copy_with(path="/simulator/state", query=None)
    said = b""
    try:
        async with (
            asyncio.timeout(_STATE_WAIT),
            httpx2.AsyncClient(trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            async for piece in answer.aiter_bytes():
                said += piece
                if len(said) > _MOST_STATE:
                    return None
        state: dict[str, Any] = msgspec.json.decode(said, type=dict[str, Any])
    except Exception:  # noqa: BLE001 - whatever it answers, a finished run is not lost for it
        return None
    return state
