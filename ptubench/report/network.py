"""The way to the target in two lines of the heading: address, regions, place; how far it is, and what that is part of.

Reads `network` of a summary. Whatever it says came from a file, a server or the user.
"""

import ipaddress
import math
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from ptubench.report.text import clean
from ptubench.units import seconds_text

_SHOWN_REGIONS = 4


def network(found: Mapping[str, Any]) -> Text | None:
    """Both lines; None on this machine, where there is nothing to say but what the user says of the place."""
    place = [f"place {clean(found['place'], 60)}"] if found.get("place") else []
    if _loopback(found.get("address")) and not found.get("proxy"):
        return Text(place[0]) if place else None
    lines = ("; ".join([*_address(found), *_regions(found), *place]), "; ".join(_times(found)))
    return Text("\n".join(line for line in lines if line)) if any(lines) else None


def _loopback(address: object) -> bool:
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return False


def _address(found: Mapping[str, Any]) -> list[str]:
    if found.get("proxy"):
        return [f"through the proxy {clean(found['proxy'], 80)}"]
    if not found.get("address"):
        return []
    private = found.get("private")
    kind = "" if private is None else ", private" if private else ", public"
    return [clean(found["address"], 45) + kind]


def _regions(found: Mapping[str, Any]) -> list[str]:
    named = list((found.get("region") or {}).items())
    shown = [f"{clean(name, 30)} {count:,}" for name, count in named[:_SHOWN_REGIONS]]
    if len(named) > _SHOWN_REGIONS:
        shown.append(f"{len(named) - _SHOWN_REGIONS} more")
    return [f"answered in {', '.join(shown)}"] if shown else []


def _times(found: Mapping[str, Any]) -> list[str]:
    said = []
    if (trip := _ms(found.get("round_trip_ms"))) is not None:
        whither = "round trip to the proxy" if found.get("proxy") else "network round trip"
        beyond = ", as is the way beyond it" if found.get("proxy") else ""
        said.append(f"{whither} {trip}, included in TTFT{beyond}")
    for key, what in (("connect_ms", "connect"), ("tls_ms", "TLS")):
        if (time := _ms((found.get(key) or {}).get("p50"))) is not None:
            said.append(f"{what} p50 {time}")
        elif (time := _ms(found.get(f"first_{key}"))) is not None:
            said.append(f"{what} {time}, once")
    return said


def _ms(value: object) -> str | None:
    """Milliseconds as a time; None for what is no number."""
    usable = isinstance(value, int | float) and math.isfinite(value)
    return seconds_text(float(value) / 1000) if usable else None  # type: ignore[arg-type] # a number, as was asked
