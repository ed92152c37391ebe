"""Whether what a workload asks for can be asked of an API at all. Said before anything is sent."""

from ptubench.errors import UsageError
from ptubench.load.messages import Line
from ptubench.load.plan import Plan
from ptubench.stream.apis import Api
from ptubench.workload.model import Fixed


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
