"""The workloads that come with ptubench, by name.

Installed they are package data; in a checkout they stand in `workloads/` at the top, where people look.
"""

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
    """The commented text of a shipped workload, for a first file of one's own.

    Raises:
        UsageError: no shipped workload is called so.
    """
    file = path(name)
    if file is None:
        raise UsageError(f"no shipped workload is called `{name}`; there are {', '.join(names())}")
    return file.read_text(encoding="utf-8")


def _folder() -> Path:
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
