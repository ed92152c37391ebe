"""What was said of the target and where: command line, workload file, environment. Decides only which of them wins."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ptubench.errors import UsageError
from ptubench.secret import shown

OPTION, FILE, ENVIRONMENT = range(3)
"""The levels: the smallest wins."""
VARIABLES = {
    "endpoint": ("AZURE_OPENAI_ENDPOINT",),
    "deployment": ("AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_DEPLOYMENT_NAME"),
    "api_version": ("OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"),
}
"""The variables that a part is read from, the first one that is set."""


class Part(NamedTuple):
    """One value and where it came from."""

    value: Any
    source: str
    """As messages and the dry run name it: "--endpoint", "chat: target.endpoint", "AZURE_OPENAI_ENDPOINT"."""
    level: int


Parts = dict[str, Part]


def gather(
    names: Iterable[str],
    options: Mapping[str, Any],
    file: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    workload_name: str,
    section: str = "target",
) -> Parts:
    """For each name the value that wins; None, and an empty variable, is "not given"."""
    parts: Parts = {}
    for name in names:
        variable = next((key for key in VARIABLES.get(name, ()) if env.get(key, "").strip()), None)
        if options.get(name) is not None:
            parts[name] = Part(options[name], f"--{name.replace('_', '-')}", OPTION)
        elif file.get(name) is not None:
            parts[name] = Part(file[name], f"{workload_name}: {section}.{name}", FILE)
        elif variable is not None:
            parts[name] = Part(env[variable].strip(), variable, ENVIRONMENT)
    return parts


def of_both(given: Part | None, pasted: str | None, endpoint: Part) -> Part | None:
    """A part that may also stand inside the endpoint, where it is worth as much as the endpoint itself.

    Raises:
        UsageError: both were given at the same level, and differ.
    """
    if pasted is None:
        return given
    if given is None or given.level > endpoint.level:
        return endpoint._replace(value=pasted)
    if given.level == endpoint.level and given.value != pasted:
        raise UsageError(
            f"{given.source}: `{shown(given.value)}` contradicts `{shown(pasted)}` in {endpoint.source}; keep one"
        )
    return given


def one_of(part: Part | None, known: tuple[str, ...]) -> str | None:
    """A part that must be one of some words; None when it was not given."""
    if part is not None and part.value not in known:
        raise UsageError(f"{part.source}: `{shown(part.value)}` is not one of {', '.join(known)}")
    return None if part is None else str(part.value)
