"""Refuse native Windows in one line, before an import that fails there. Uses the standard library only."""

import sys

MESSAGE = (
    "error: irisbench does not run on native Windows; use WSL 2. In PowerShell, type `wsl --install -d Ubuntu`. In the "
    "Ubuntu window, type `sudo apt-get update && sudo apt-get install git python3-venv openjdk-17-jre-headless`, clone "
    "irisbench there, and type `./nox -s benchmark` in the clone."
)

if sys.platform == "win32":
    print(MESSAGE, file=sys.stderr)
    sys.exit(2)
