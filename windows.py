"""Stop on native Windows with one line that says how to use WSL 2, before an import fails there."""

import sys

MESSAGE = (
    "error: irisbench runs on Linux and macOS, and on Windows in WSL 2. Type in PowerShell: wsl --install; then in the "
    "Ubuntu window: sudo apt-get update && sudo apt-get install --yes git python3-venv default-jre-headless; then in "
    "a clone of this repository in that window: ./nox -s benchmark"
)

if sys.platform == "win32":
    print(MESSAGE, file=sys.stderr)
    sys.exit(2)
