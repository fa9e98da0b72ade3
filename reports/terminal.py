"""The end of a run on the terminal: who does what the report asks first, and where the report is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.page import Report
from reports.verdict import NO, NOT_KNOWN, YES

COLOURS = {YES: "green", NO: "red", NOT_KNOWN: "yellow"}


def show(report: Report, path: Path, console: Console) -> None:
    """Prints the first question with its answers, and last the path of the page."""
    for asked in report.asked[:1]:
        title = Text(asked.words, style="bold")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for heading in ("", "framework", "", "why"):
            table.add_column(heading)
        for one in asked.answers:
            verdict = Text(one.verdict, style=COLOURS[one.verdict])
            table.add_row(str(one.place or ""), Text(one.contender.name), verdict, Text(one.reason))
        console.print(table)
        for line in asked.first:
            console.print(Text(line, style="bold"))
    console.print(f"report: {path}", markup=False, soft_wrap=True)
