"""Which reasoning effort a simulated model takes, as the service says it.

Values by model: Azure AI documentation (`ReasoningEffort` of the AI projects libraries, read 2026-11): before gpt-5.1 there is
no `none`, gpt-5.1 has none, low, medium and high, later ones also xhigh; the o-series has low, medium and high.
"""

from ptubench.ptu import catalogue
from ptubench.sim import chat, responses
from ptubench.sim.chat import BadRequest, unsupported

_USUAL = ("low", "medium", "high")
_BY_NAME = (
    ("o", _USUAL),
    ("gpt-5.1", ("none", *_USUAL)),
    ("gpt-5.", ("none", *_USUAL, "xhigh")),
    ("gpt-5", ("minimal", *_USUAL)),
    ("gpt-", ("none", *_USUAL, "xhigh")),
)
"""By how the name begins; the first that fits."""


def check(model: str, request: chat.Request | responses.Request) -> None:
    """Refuse an effort that the model does not take; a model that is not in the catalogue takes any.

    Raises:
        BadRequest: the model does not reason, or does not take this value.
    """
    if isinstance(request, chat.Request):
        effort, field = request.reasoning_effort, "reasoning_effort"
    else:
        effort, field = None if request.reasoning is None else request.reasoning.effort, "reasoning.effort"
    known = catalogue.find(model)
    if effort is None or known is None:
        return
    if not known.reasoning:
        raise unsupported(field, code="unsupported_parameter")
    taken = next((efforts for start, efforts in _BY_NAME if known.name.startswith(start)), ())
    if taken and effort not in taken:
        *others, last = (f"'{name}'" for name in taken)
        raise BadRequest(
            f"Unsupported value: '{effort[:40]}' is not supported with the '{known.name}' model. "
            f"Supported values are: {', '.join(others)}, and {last}.",
            param=field,
            code="unsupported_value",
        )
