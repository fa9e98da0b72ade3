"""Refuse native Windows in one line, before an import that fails there. Uses the standard library only."""

import sys

MESSAGE = (
    "error: irisbench does not run on native Windows; use WSL 2. In PowerShell type `wsl --install -d Ubuntu`; in its "
    "window type `sudo apt-get install git python3-venv openjdk-17-jre-headless`; in a clone there `./nox -s benchmark`"
)

if sys.platform == "win32":
    print(MESSAGE, file=sys.stderr)
    sys.exit(2)
