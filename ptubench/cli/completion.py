"""What a shell completes: shipped workloads, workload files, run files, metrics. Quick: it reads folders, and no file.

Where nothing is found the shell completes files as it does for any command. So folders are not offered, which a shell
would take for finished words, but the files in them.
"""

# What a command needs is imported when it runs, so that --help is quick.
# ruff: noqa: PLC0415

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ptubench.workload import shipped


def workloads(incomplete: str) -> list[str]:
    """Names of shipped workloads, then workload files."""
    return [name for name in shipped.names() if name.startswith(incomplete)] + _paths(incomplete, ".yaml", ".yml")


def runs(incomplete: str) -> list[str]:
    """Run files."""
    return _paths(incomplete, ".jsonl", ".jsonl.gz")


def rules(incomplete: str) -> list[str]:
    """What a rule can be on."""
    from ptubench.analysis import names

    return _begun(names.suggestions(), incomplete)


def aborts(incomplete: str) -> list[str]:
    """What an abort rule can be on."""
    from ptubench.analysis import abort

    return _begun(abort.METRICS, incomplete)


def regressions(incomplete: str) -> list[str]:
    """What a run can be held against its baseline by."""
    from ptubench.gate import regression

    return _begun((f"{name}:" for name in regression.METRICS), incomplete)


def one_of(*words: str) -> Callable[[str], list[str]]:
    """These words."""
    return lambda incomplete: _begun(words, incomplete)


def _begun(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _paths(incomplete: str, *endings: str) -> list[str]:
    """Files with one of the endings whose path begins as typed, and those directly in a folder that begins so."""
    begun = incomplete.rpartition("/")[2]
    prefix = incomplete.removesuffix(begun)
    found = []
    for path in _inside(Path(prefix or ".").expanduser()):
        if path.name.startswith(begun) and not path.name.startswith("."):
            files = [f"{path.name}/{file.name}" for file in _inside(path)] if path.is_dir() else [path.name]
            found += [f"{prefix}{file}" for file in files if file.endswith(endings)]
    return found


def _inside(folder: Path) -> Iterator[Path]:
    """What a folder holds, by name; nothing where it can't be read."""
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return
