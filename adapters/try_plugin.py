"""Import the adapter of a plug-in in a separate process, so that a run knows whether this works.

python -m adapters.try_plugin NAME [FILE.py]    exits with one line and code 1 if it fails
"""

from __future__ import annotations

import sys
from pathlib import Path

from adapters import registry
from errors import BadInput


def main(name: str, files: list[str]) -> None:
    """Import the adapter as a case does."""
    try:
        registry.add_plugins([Path(file) for file in files])
        registry.hide_others(name)
        registry.FRAMEWORKS[name].create()
    except BadInput as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
