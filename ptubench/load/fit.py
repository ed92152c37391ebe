"""Whether what a workload asks for can be asked of an API at all. Said before anything is sent."""

import numpy as np

from ptubench.errors import UsageError
from ptubench.load.messages import Line
from ptubench.load.plan import Plan
from ptubench.ptu import catalogue
from ptubench.stream.apis import Api, reasoning_effort
from ptubench.workload.model import Fixed

_ROOM = 4096
"""Tokens of an output limit that leave room for some reasoning; a hard question takes more."""


def check(plan: Plan, api: Api) -> None:
    """Look at fixed output limits and at the lines of messages files; drawn limits are raised by the plan.

    Raises:
        UsageError: an output limit that the API refuses, or messages that it has no form for.
    """
    for kind, lines in zip(plan.workload.classes, plan.lines, strict=True):
        sizes = kind.limit or kind.completion
        if isinstance(sizes, Fixed) and not kind.unlimited:
            of_class = f" of class {kind.name}" if kind.name else ""
            _check_limit(sizes.tokens + kind.reasoning_tokens, api, f"{plan.workload.name}: the output limit{of_class}")
        for line in lines:
            _check_line(line, api, f"{kind.messages and kind.messages.file}:{line.number}")


def small_limit(plan: Plan, model: str | None) -> str | None:
    """That the reasoning may use up the output limit, in a sentence; None where the model does not reason, or has room.

    Args:
        plan: of the workload.
        model: by its name in the catalogue.
    """
    kinds, parameters = plan.workload.classes, plan.workload.parameters
    if model is None or not catalogue.reasons(model) or reasoning_effort(parameters) == "none":
        return None
    columns = plan.columns(0)
    roomy = np.array([kind.reasoning_tokens > 0 for kind in kinds])
    limits = columns.limit[~roomy[columns.kinds] & ~np.isnan(columns.limit)]
    if not len(limits) or limits.mean() >= _ROOM:
        return None
    return (
        f"{model} reasons, and what it reasons counts towards the output limit (mean {limits.mean():,.0f} tokens): answers may "
        "be cut short or empty; set `reasoning_tokens`, which is added to the limit, or `output_limit: none`"
    )


def _check_line(line: Line, api: Api, where: str) -> None:
    if line.limit is not None:
        _check_limit(line.limit, api, f"{where}: the line's output limit")
    try:
        api.prompt(line.messages)
    except ValueError as exc:
        raise UsageError(f"{where}: {exc}; change the line, or use --api chat") from None


def _check_limit(tokens: int, api: Api, what: str) -> None:
    if tokens < api.least_limit:
        raise UsageError(
            f"{what} is {tokens}, and {api.title} takes none under {api.least_limit}; "
            f"set `output_limit: {api.least_limit}`, or use --api chat"
        )
