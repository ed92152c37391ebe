"""Version of an installed package, its size with all that it requires (MB), and how many packages that is.

python benchmarks/peers/sizes.py aiohttp
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def needed(name: str, known: set[str]) -> set[str]:
    """The package and all that it requires here, without what only its extras require."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in known:
        return known
    try:
        found = distribution(name)
    except PackageNotFoundError:  # required on other platforms only
        return known
    known.add(key)
    for line in found.requires or ():
        if "extra ==" not in line:
            needed(re.split(r"[^\w.-]", line, maxsplit=1)[0], known)
    return known


def size(name: str) -> int:
    """Bytes of a package's files."""
    places = (Path(str(file.locate())) for file in distribution(name).files or ())
    return sum(place.stat().st_size for place in places if place.is_file())


def main() -> None:
    """Print them in one line."""
    name = sys.argv[1]
    packages = needed(name, set())
    print(distribution(name).version, sum(map(size, packages)) / 2**20, len(packages))


if __name__ == "__main__":
    main()
