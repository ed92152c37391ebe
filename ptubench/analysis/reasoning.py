"""What a run's answers were thought over with: whether the model reasons, how hard it was asked to, what it refused to be told.

From the head of the file (where anything may stand that was edited by hand) and the tokens that were counted.
"""

from collections.abc import Mapping
from typing import Any

from ptubench.analysis.columns import Run
from ptubench.ptu import catalogue
from ptubench.stream.apis import reasoning_effort


def said(run: Run, *, model_served: str | None, reasoning_tpm: float | None) -> dict[str, Any]:
    """{reasoning, reasoning_effort, left_out}: whether `ttfo` is the headline, the effort that was sent, the fields that were not.

    Args:
        run: any.
        model_served: the model that most answers name.
        reasoning_tpm: reasoning tokens per minute, by the service's count.
    """
    left_out = names_left_out(run.head.probe)
    named = run.head.target.get("model")
    known = any(catalogue.reasons(str(name)) for name in (named, model_served) if name)
    refused = any(name.startswith("reasoning") for name in left_out)
    return {
        "reasoning": known or bool(reasoning_tpm),
        "reasoning_effort": None if refused else reasoning_effort(run.head.workload.parameters),
        "left_out": left_out,
    }


def names_left_out(probe: Mapping[str, Any] | None) -> list[str]:
    """The body fields that a target refused in its probe call, and that were not sent."""
    left_out = (probe or {}).get("left_out")
    return list(left_out) if isinstance(left_out, Mapping) else []
