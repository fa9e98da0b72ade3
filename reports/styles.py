"""The colour and the mark of each framework, the same in all charts of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import altair as alt

from benchmarks.results.runs import Run

Style = tuple[str, str]
"""A colour and a mark of Vega-Lite: the name of a shape, or an SVG path."""

STAR = "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z"
STYLES: Mapping[str, Style] = {
    "scikit-learn": ("#E69F00", "circle"),
    "pytorch-cpu": ("#D55E00", "square"),
    "pytorch-gpu": ("#CC79A7", "diamond"),
    "tensorflow-cpu": ("#0072B2", "triangle-up"),
    "tensorflow-gpu": ("#56B4E9", "triangle-down"),
    "h2o": ("#000000", "triangle-right"),
    "spark": ("#009E73", STAR),
    "baseline": ("#9A9A9A", "stroke"),
}
"""Our own frameworks, the same in every run. The colours are those of Okabe and Ito."""

SPARE: tuple[Style, ...] = (
    ("#7B4B94", "triangle-left"),
    ("#8C6D1F", "cross"),
    ("#5B6C8F", "wedge"),
    ("#A34A5E", "arrow"),
)
"""For frameworks that were added without a style."""


def ordered(frameworks: Iterable[str]) -> list[str]:
    """Return the frameworks without repetition: ours in the order of STYLES, then the others by name."""
    known = list(STYLES)
    return sorted(set(frameworks), key=lambda name: (known.index(name) if name in STYLES else len(known), name))


def of_run(run: Run) -> dict[str, Style]:
    """Return the style of each framework that has records: ours, the one in the environment, or a spare one."""
    styles = {}
    for name in ordered(record.case.framework for record in run.records):
        own = run.environment.framework(name).style
        if name in STYLES:
            styles[name] = STYLES[name]
        elif own:
            styles[name] = (own["colour"], own["mark"])
    for name in ordered(record.case.framework for record in run.records):
        if name not in styles:
            free = [style for style in SPARE if style not in styles.values()]
            styles[name] = (free or SPARE)[0]
    return styles


@dataclass(frozen=True)
class Legend:
    """The frameworks of a chart with their styles: the two encodings that distinguish them, with one legend."""

    frameworks: Iterable[str]
    styles: Mapping[str, Style]

    @property
    def color(self) -> alt.Color:
        return alt.Color("framework:N", scale=self._scale(0))

    @property
    def shape(self) -> alt.Shape:
        return alt.Shape("framework:N", scale=self._scale(1))

    def _scale(self, part: int) -> alt.Scale:
        names = ordered(self.frameworks)
        return alt.Scale(domain=names, range=[self.styles[name][part] for name in names])
