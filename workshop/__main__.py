"""python -m workshop: serves the class in Jupyter, makes its notebooks from their sources, and runs them."""

from __future__ import annotations

import windows  # noqa: F401, ends here on native Windows

# isort: split
import early

if __name__ == "__main__":
    early.prepare()

# isort: split
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated

import jupytext
import nbformat
import typer
from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from rich.console import Console
from rich.markup import escape

import commandline
from adapters import registry
from errors import BadInput
from machine import ROOT
from reports import load
from reports.cards import cards

HERE = Path(__file__).resolve().parent
SOURCES = {
    "example1/example1": "example1",
    "exercise1/template1": "exercise1",
    "exercise1/solution1": "exercise1",
    "exercise2/template2": "exercise2",
    "exercise2/solution2": "exercise2",
    "more/tensorflow": "tensorflow",
    "more/h2o": "h2o",
    "more/spark": "spark",
}
"""The notebooks in the order of the class, and the files in workshop/sources/ that they are made from."""
GAP = re.compile(r"^( *)# gap: (?P<stub>.*)\n(?P<solution>.*(?:\n.*)*?)\n *# end of gap$", re.MULTILINE)
"""In a source: what a solution has, and what stands in its place in the template."""
GUIDE = HERE / "README.md"
PUBLISHED = ROOT / "reports" / "published" / "full-amd-epyc-2-cores"
"""The run whose figures the guide shows."""
FIGURES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)
"""The table in the guide."""
WITHOUT_GAPS = [Path(name).name for name in SOURCES if "template" not in name]
"""Those that run to their end."""
NOT_COPIED = shutil.ignore_patterns(".git", ".nox", ".venv", "__pycache__", "runs", "latest", "my")

NEEDS = {"more/tensorflow": "tensorflow-cpu", "more/h2o": "h2o", "more/spark": "spark"}
"""The frameworks without which a notebook cannot run."""

TOLD = (
    "disk, installed",
    "import and start",
    "training",
    "predicting",
    "one flower",
    "peak memory",
    "for many machines",
)
"""What the table says, of all that stands on a card."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console(highlight=False)


@app.command()
def sync() -> None:
    """Make every notebook from its source in workshop/sources/, and the guide's table from the published run."""
    for name in SOURCES:
        nbformat.write(made(name), HERE / f"{name}.ipynb")
        console.print(f"workshop/{name}.ipynb")
    GUIDE.write_text(guide())
    console.print("workshop/README.md")


@app.command()
def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Such as example1; all but the templates if none.")
    ] = None,
) -> None:
    """Run the notebooks from clean kernels, one after another, on a copy of the project, and change nothing here."""
    known = {Path(name).name: name for name in SOURCES}
    if unknown := [name for name in names or () if name not in known]:
        raise BadInput(f"there is no notebook {unknown[0]}; there are {', '.join(known)}")
    chosen = [name for short, name in known.items() if short in (names or WITHOUT_GAPS)]
    with tempfile.TemporaryDirectory(prefix="irisbench-") as folder:
        copy = copied(Path(folder))
        for name in chosen:
            if reason := name in NEEDS and registry.FRAMEWORKS[NEEDS[name]].missing():
                console.print(f"[dim]skipped[/] {name}: {escape(str(reason))}", soft_wrap=True)
                continue
            began = time.monotonic()
            with console.status(f"{name}: running"):
                try:
                    execute(copy, name)
                except CellExecutionError as error:
                    console.print(f"[red]failed[/]  {name}\n{escape(str(error))}", soft_wrap=True)
                    raise typer.Exit(1) from None
            console.print(f"[green]ok[/]      {name} {time.monotonic() - began:.0f} s")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(context: typer.Context) -> None:
    """Start JupyterLab on 127.0.0.1 with its token, opened at the guide. Further arguments go to Jupyter."""
    arguments = [
        *("jupyterlab", "--ip=127.0.0.1", f"--notebook-dir={ROOT}"),
        "--LabApp.default_url=/lab/tree/workshop/README.md",
        f"--LabApp.app_settings_dir={HERE / 'settings'}",
        # Kernels answer on Unix sockets in a closed folder: on a TCP port, any user could read what cells print.
        "--KernelManager.transport=ipc",
        "--ServerApp.answer_yes=True",  # Ctrl-C ends it, without asking
        *context.args,
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ["JUPYTER_RUNTIME_DIR"] = runtime_folder()
    os.execvp(sys.executable, [sys.executable, "-m", *arguments])


def runtime_folder() -> str:
    """Return Jupyter's folder for sockets, keys and tokens, closed to other users: a short one if its own is too long.

    Systems limit the path of a Unix socket, macOS to 103 bytes.
    """
    folder: str = jupyter_runtime_dir()
    if len(os.fsencode(f"{folder}/kernel-{uuid.uuid4()}-ipc-1")) > 103:
        return tempfile.mkdtemp(prefix="irisbench-", dir="/tmp")
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(folder).chmod(0o700)
    return folder


def made(name: str) -> NotebookNode:
    """The notebook as its source says: of an exercise the template, with gaps, or the solution.

    Cells are numbered, so that the same source makes the same file.
    """
    notebook = jupytext.read(HERE / "sources" / f"{SOURCES[name]}.py")
    notebook.metadata.pop("jupytext", None)
    template = "template" in name
    other = "solution" if template else "template"
    notebook.cells = [cell for cell in notebook.cells if other not in cell.metadata.get("tags", [])]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("lines_to_next_cell", None)
        cell.source = GAP.sub(r"\1\g<stub>" if template else r"\g<solution>", cell.source)
    return notebook


def guide() -> str:
    """The guide, whose table of figures is what the cards of the published run say."""
    (run,) = load.runs([PUBLISHED])
    shown = {card.framework: dict(card.facts) for card in cards(run) if card.works}
    lines = ["", *shown], ["--", *("--:" for _ in shown)]
    names = next(iter(shown.values()))
    rows = [[name, *(facts[name] for facts in shown.values())] for name in names if name.startswith(TOLD)]
    return FIGURES.sub("".join(f"| {' | '.join(row)} |\n" for row in (*lines, *rows)), GUIDE.read_text())


def copied(folder: Path) -> Path:
    """The project without what it made, below `folder`."""
    return Path(shutil.copytree(ROOT, folder / "irisbench", ignore=NOT_COPIED))


def execute(root: Path, name: str, notebook: NotebookNode | None = None) -> NotebookNode:
    """Runs a notebook of the project at `root` in a kernel of its own, in its own folder; CellExecutionError."""
    path = root / "workshop" / f"{name}.ipynb"
    notebook = notebook or nbformat.read(path, as_version=4)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), before])  # the kernel inherits it
    try:
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
        return client.execute()
    finally:
        os.environ["PYTHONPATH"] = before


if __name__ == "__main__":
    commandline.main(app, "workshop")
