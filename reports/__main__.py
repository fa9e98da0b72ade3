"""The command line: python -m reports [RUN]... [--output DIR]."""

from __future__ import annotations

import windows  # noqa: F401, ends here on native Windows

# isort: split
import early

if __name__ == "__main__":
    early.prepare()

# isort: split
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import commandline
from reports import load, page, terminal
from reports.output import check

app = typer.Typer(add_completion=False)


@app.command()
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Folders of runs. The newest run, if there are none."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write. The folder of the first run, if not given.")
    ] = None,
) -> None:
    """Make the report of one or more runs: a page, its text, a table and figures."""
    loaded = load.runs(runs or ())
    folder = output or loaded[0].folder
    check(folder, loaded)  # at once, since a report takes seconds
    made = page.make(loaded)
    path = page.write(made, folder)
    terminal.show(made, path, Console(highlight=False))


if __name__ == "__main__":
    commandline.main(app, "reports")
