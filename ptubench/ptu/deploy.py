"""The commands that make a deployment of a size: text to paste, with words in capitals to replace. Nothing is run.

Source: Azure AI documentation, provisioned-get-started (2026-09-11), and the Azure CLI's `az cognitiveservices`.
"""

import re

from ptubench.ptu.catalogue import Model

SKUS = {
    "global": "GlobalProvisionedManaged",
    "datazone": "DataZoneProvisionedManaged",
    "regional": "ProvisionedManaged",
}
"""What Azure calls the deployment types."""
_OPENAI = re.compile(r"gpt-|o\d")
_PLAIN = re.compile(r"\w[\w.-]*", re.ASCII)
"""What can be pasted into a shell as it is, as every name of Azure's models can."""


def quota(type_: str) -> str:
    """Shows how many PTUs of that type the subscription may deploy in a region. Regional has its own pool."""
    return (
        "az cognitiveservices usage list --location REGION --output table "
        f"--query \"[?name.value=='OpenAI.{SKUS[type_]}']\""
    )


def create(name: str, model: Model | None, type_: str, ptu: int) -> str:
    """Makes the deployment; the same command with another capacity resizes it online.

    Args:
        name: the model as it was typed; one that is not plain is left to fill in.
        model: its row of the catalogue; None for one that the catalogue does not know.
        type_: `global`, `datazone` or `regional`.
        ptu: its size.
    """
    version = (model.version if model is not None else None) or "VERSION"
    typed = name if _PLAIN.fullmatch(name) else "MODEL"
    served = typed if model is None else model.name
    publisher = "OpenAI" if _OPENAI.match(served) else "PUBLISHER"
    return " ".join(
        (
            "az cognitiveservices account deployment create --name RESOURCE --resource-group GROUP",
            f"--deployment-name NAME --model-name {served} --model-version {version}",
            f"--model-format {publisher} --sku-name {SKUS[type_]} --sku-capacity {ptu}",
        )
    )
