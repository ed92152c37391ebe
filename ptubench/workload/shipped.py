"""The workloads that come with ptubench, by name.

Installed they are package data; in a checkout they stand in `workloads/` at the top, where people look.
"""

import re
from pathlib import Path

from ptubench.errors import UsageError

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "workloads", _PACKAGE.parent / "workloads")


def names() -> list[str]:
    """The shipped names, sorted."""
    return sorted(file.stem for file in _folder().glob("*.yaml"))


def path(name: str) -> Path | None:
    """The file of a shipped workload; None when none is called so."""
    return _folder() / f"{name}.yaml" if name in names() else None


def template(name: str = "chat") -> str:
    """The commented text of a workload to begin with: the shipped one of that name, else `chat` under that name.

    Raises:
        UsageError: no workload can be called so.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"`{name}` can't be the name of a workload; use letters, digits, dots and dashes")
    file = path(name) or _folder() / "chat.yaml"
    text = re.sub(r"(?m)^name: .*$", f"name: {name}", file.read_text(encoding="utf-8"), count=1)
    # The commands in its comments are for the shipped one; here they are for the new file.
    return re.sub(rf"(?m)^(#.*ptubench run ){file.stem}\b", rf"\g<1>{name}.yaml", text)


def companions(name: str) -> list[Path]:
    """The files that a shipped workload names: a trace, messages. They are made to be replaced by one's own."""
    file = path(name)
    if file is None:
        return []
    text = file.read_text(encoding="utf-8")
    return [other for other in sorted(_folder().iterdir()) if other.suffix != ".yaml" and other.name in text]


def _folder() -> Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
