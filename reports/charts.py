"""Charts of one run, made once: the page embeds the very objects that become SVG and PNG files."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from benchmarks.runs import Run
from benchmarks.statistics import show_seconds
from reports.statistics import (
    DRIFT,
    Probe,
    Result,
    median,
    moved,
    probes,
    results,
    show_estimate,
    show_memory,
    show_rows,
    show_share,
)
from reports.verdict import sentence

STAR = "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z"
CROSS = "M-.8,-.8L.8,.8M-.8,.8L.8,-.8"
LOOKS = {
    "scikit-learn": ("#E69F00", "circle"),
    "pytorch-cpu": ("#D55E00", "square"),
    "pytorch-gpu": ("#CC79A7", "diamond"),
    "tensorflow-cpu": ("#0072B2", "triangle-up"),
    "tensorflow-gpu": ("#56B4E9", "triangle-down"),
    "h2o": ("#000000", "triangle-right"),
    "spark": ("#009E73", STAR),
    "baseline": ("#9A9A9A", "stroke"),
}
"""Colour and shape of a framework, the same in every chart of every run; the colours are Okabe and Ito's."""
OTHERS = (("#7B4B94", "triangle-left"), ("#8C6D1F", "cross"), ("#5B6C8F", "wedge"), ("#A34A5E", "arrow"))
"""For frameworks that were added and not given a look yet."""
PHASES = {"import": "#332288", "start": "#88CCEE", "load": "#DDCC77", "train": "#CC6677", "predict_one": "#117733"}
FAILURES = ("timeout", "out-of-memory", "failed")
WIDTH, HEIGHT = 460, 300
LEAST_ERROR = 0.002


@dataclass(frozen=True)
class Figure:
    """A chart with the name of its files and the sentence to read it by."""

    name: str
    caption: str
    chart: alt.LayerChart


def look(framework: str) -> tuple[str, str]:
    """Colour and shape of a framework; one that nobody knows gets the same pair in every chart, too."""
    return LOOKS.get(framework) or OTHERS[zlib.crc32(framework.encode("utf-8", "replace")) % len(OTHERS)]


def figures(run: Run) -> list[Figure]:
    """The charts of a run, model by model; those for which the run has no values are left out."""
    found = results(run.records)
    made = []
    for model in dict.fromkeys(record.case.model for record in run.records):
        own = [result for result in found if result.case.model == model]
        # The baseline does no more than count: beside it, all that learn would be squeezed into one line.
        models = [result for result in own if result.case.framework != "baseline"] or own
        slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-") or "model"
        for kind, caption, chart in (
            ("train", TRAIN_CAPTION, train_chart(models, model, run.time_limit)),
            ("accuracy", ACCURACY_CAPTION, accuracy_chart(models, model)),
            ("memory", MEMORY_CAPTION, memory_chart(own, model)),
            ("first-prediction", FIRST_CAPTION, first_prediction_chart(own, model)),
        ):
            if chart is not None:
                made.append(Figure(f"{kind}-{slug}", caption, chart))
    if (drift := probe_chart(probes(run.records))) is not None:
        made.append(Figure("probe", PROBE_CAPTION, drift))
    return made


TRAIN_CAPTION = (
    "Lower is faster. A bar through a mark is its 95 % interval. A hollow mark was trained below its target accuracy "
    "and counts in no ranking. A cross is a case that did not end: it stands at its number of rows, and its height "
    "says nothing about time."
)
ACCURACY_CAPTION = (
    "Higher is better. The axis is stretched towards 1, where the differences are. No model can beat the dashed line "
    "on average; 150 rows are the real flowers, for which nobody knows it."
)
MEMORY_CAPTION = "Lower is leaner: the most that all processes together held while they loaded, trained and predicted."
FIRST_CAPTION = (
    "What a first answer costs after a cold start: everything is done for the first time. "
    "It is measured up to 100,000 rows."
)
PROBE_CAPTION = (
    "The same small piece of work, timed before each case: the machine's own speed during the run. Lower is faster. "
    "A diamond is more than 10 % from the median, the dashed line: what was measured there is to be taken with care."
)


def train_chart(own: Sequence[Result], model: str, time_limit: float | None = None) -> alt.LayerChart | None:
    """Training seconds against rows, both logarithmic, with a cross for each case that did not end."""
    points = [_point(result, time.median) for result in own if (time := result.seconds("train")) and time.median > 0]
    failures = [_point(result, 0.0) for result in own if result.outcome in FAILURES]
    if not points and not failures:
        return None
    known = [point["y"] for point in points]
    top = time_limit or 2 * max(known, default=1.0)
    step = 10 ** (15 / HEIGHT * (math.log10(top / min([*known, top])) + 1.5))
    stacked: dict[int, int] = {}
    for failure in failures:
        level = stacked[failure["rows"]] = stacked.get(failure["rows"], -1) + 1
        failure["y"] = top * step**level
    low, high = _decades(point["y"] for point in points + failures)
    y = _y("Training time (seconds)", low, high, _ticks(low, high), "format(datum.value, ',')")
    sizes = [point["rows"] for point in points + failures]
    x = _x(sizes)
    below: list[alt.Chart] = []
    if time_limit and failures:
        limit = _chart([{"y": time_limit, "text": f"time limit {show_seconds(time_limit)}"}])
        rule = limit.mark_rule(color="#999", strokeDash=[2, 3]).encode(y=y)
        below = [rule, *_text(limit.encode(x=alt.value(4), y=y, text="text:N"), "#666", align="left", dy=-7)]
    frameworks = [point["framework"] for point in points + failures]
    above = _crosses(failures, frameworks, x, y, _span(sizes))
    lines = [_whiskers(points, frameworks, x, y), *_lines(points, frameworks, x, y)]
    return _finish([*below, *lines, *above], f"{model}: how long training takes")


def accuracy_chart(own: Sequence[Result], model: str) -> alt.LayerChart | None:
    """Accuracy against rows with the Bayes accuracy; the height of a mark is its error, logarithmic and upside down."""

    def height(accuracy: float) -> float:
        return max(1 - accuracy, LEAST_ERROR)

    known = [(result, accuracy) for result in own if (accuracy := result.quality("accuracy")) is not None]
    if not known:
        return None
    points = [_point(result, height(accuracy)) for result, accuracy in known]
    frameworks = [point["framework"] for point in points]
    best = {result.case.rows: bayes for result, _ in known if (bayes := result.quality("bayes_accuracy")) is not None}
    bounds = [height(bayes) for bayes in best.values()] + [point["y"] for point in points]
    low, high = 0.8 * min(bounds), min(1.0, 1.25 * max(bounds))
    ticks = [1 - share for share in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995)]
    label = "format(round((1 - datum.value) * 1000) / 1000, '~g')"
    y = _y("Accuracy", high, low, [tick for tick in ticks if low <= tick <= high], label)
    sizes = [point["rows"] for point in points]
    x = _x(sizes)
    extra: list[alt.Chart] = []
    if best:
        line = [{"rows": rows, "y": height(best[rows])} for rows in sorted(best)]
        line.append({**line[-1], "rows": _span(sizes)[1]})
        text = {**line[-1], "text": f"Bayes: the best possible, {show_share(best[max(best)])}"}
        extra = [
            _chart(line).mark_line(color="#555", strokeDash=[6, 4], strokeWidth=1.5).encode(x=x, y=y),
            *_text(_chart([text]).encode(x=x, y=y, text="text:N"), "#444", align="right", dx=-2, dy=-8),
        ]
    return _finish(extra + _lines(points, frameworks, x, y), f"{model}: how accurate the trained model is")


def memory_chart(own: Sequence[Result], model: str) -> alt.LayerChart | None:
    """Peak memory of the process tree against rows, both logarithmic."""
    points = [_point(result, float(peak)) for result in own if (peak := result.peak_memory_bytes)]
    if not points:
        return None
    heights = [point["y"] for point in points]
    first, last = math.floor(math.log2(min(heights))), math.ceil(math.log2(max(heights) * 1.0001))
    ticks = [2.0**power for power in range(first, last + 1, max(1, math.ceil((last - first) / 8)))]
    label = (
        "datum.value >= 1073741824 ? format(datum.value / 1073741824, ',') + ' GiB'"
        " : format(datum.value / 1048576, ',~r') + ' MiB'"
    )
    y = _y("Peak memory (MiB, GiB)", 2.0**first, 2.0**last, ticks, label)
    x = _x([point["rows"] for point in points])
    return _finish(_lines(points, [point["framework"] for point in points], x, y), f"{model}: how much memory it takes")


def first_prediction_chart(own: Sequence[Result], model: str) -> alt.LayerChart | None:
    """Seconds from start to first prediction, phase by phase, at the largest size that has a cold start."""
    rows = max((result.case.rows for result in own if result.first_prediction_seconds is not None), default=None)
    chosen = [result for result in own if result.case.rows == rows and result.first_prediction_seconds is not None]
    if not chosen:
        return None
    tracks = len({result.case.track for result in chosen}) > 1
    bars, totals = [], {}
    for result in chosen:
        bar = f"{result.case.framework} ({result.case.track})" if tracks else result.case.framework
        if bar in totals:
            continue  # a second number of threads or seeds would make the bar twice as long
        cold = {phase: result.cold_seconds(phase) or 0.0 for phase in PHASES}
        totals[bar] = sum(cold.values())
        for order, (phase, seconds) in enumerate(cold.items()):
            bars.append(
                {
                    "bar": bar,
                    "phase": phase.replace("_", " "),
                    "order": order,
                    "seconds": seconds,
                    "time": show_seconds(seconds),
                }
            )
    sums = [{"bar": bar, "seconds": total, "time": show_seconds(total)} for bar, total in totals.items()]
    y = alt.Y("bar:N", title=None, sort=sorted(totals, key=lambda bar: totals[bar]), axis=alt.Axis(labelLimit=240))
    longest = 1.12 * max(totals.values()) or 1.0
    x = alt.X("seconds:Q", title="Seconds in these phases", scale=alt.Scale(domain=[0, longest], nice=False))
    scale = alt.Scale(domain=[phase.replace("_", " ") for phase in PHASES], range=list(PHASES.values()))
    stack = _chart(bars).mark_bar()
    stack = stack.encode(
        x=x.stack("zero"),
        y=y,
        color=alt.Color("phase:N", title="phase", scale=scale),
        order="order:Q",
        tooltip=[alt.Tooltip("bar:N", title="framework"), alt.Tooltip("phase:N"), alt.Tooltip("time:N", title="time")],
    )
    text = _chart(sums).mark_text(align="left", dx=4, color="#333").encode(x=x, y=y, text="time:N")
    title = f"{model}: from start to first prediction, {show_rows(rows or 0)} rows"
    return _finish([stack, text], title, height=26 * len(totals) + 10)


def probe_chart(found: Sequence[Probe]) -> alt.LayerChart | None:
    """Seconds of the probe against the minutes of the run, with the band in which a machine at rest stays."""
    middle = median(probe.seconds for probe in found)
    if not middle:
        return None
    far = moved(found)
    points: list[dict[str, Any]] = [
        {
            "minutes": probe.minutes,
            "seconds": probe.seconds * 1e3,
            "moved": probe in far,
            "case": f"{probe.record.case}, launch {probe.record.launch}",
            "time": f"{show_seconds(probe.seconds, 3)}, {probe.seconds / middle - 1:+.0%} from the median",
        }
        for probe in found
    ]
    heights = [point["seconds"] for point in points]
    low, high = middle * 1e3 * (1 - DRIFT), middle * 1e3 * (1 + DRIFT)
    domain = [0.95 * min([*heights, low]), 1.05 * max([*heights, high])]
    x = alt.X("minutes:Q", title="Minutes since the first case", axis=alt.Axis(grid=False))
    y = alt.Y("seconds:Q", title="Probe (ms)", scale=alt.Scale(domain=domain, zero=False, nice=False))
    bottom = y.copy()
    bottom.shorthand = "low:Q"
    band = _chart([{"low": low, "high": high}]).mark_rect(color="#e9eef2")
    rule = _chart([{"seconds": middle * 1e3}]).mark_rule(color="#555", strokeDash=[6, 4])
    marks = _chart(points).mark_point(filled=True, size=60, opacity=1)
    marks = marks.encode(
        x=x,
        y=y,
        color=alt.when("datum.moved").then(alt.value("#D55E00")).otherwise(alt.value("#0072B2")),
        shape=alt.when("datum.moved").then(alt.value("diamond")).otherwise(alt.value("circle")),
        tooltip=[alt.Tooltip("case:N", title="before"), alt.Tooltip("time:N", title="probe")],
    )
    layers = [band.encode(y=bottom, y2="high:Q"), rule.encode(y=y), marks]
    return _finish(layers, "How fast the machine was during the run", height=180)


def _point(result: Result, y: float) -> dict[str, Any]:
    """One mark: where it stands and all that its tooltip tells."""
    case, train, peak = result.case, result.seconds("train"), result.peak_memory_bytes
    accuracy = result.quality("accuracy")
    return {
        "framework": case.framework,
        "track": case.track,
        "series": f"{case.framework} {case.track} {case.threads} {case.seed}",
        "rows": case.rows,
        "y": y,
        "below": result.below_target,
        "rows text": show_rows(case.rows),
        "threads": case.threads,
        "outcome": result.outcome if not result.failure else sentence(result.failure),
        "label": f"{case.framework}{'' if case.track == 'tuned' else f' {case.track}'}: {result.outcome}",
        "train": show_estimate(train) if train else "not measured",
        "low": train.low if train and train.low else y,
        "high": train.high if train and train.high else y,
        "accuracy": "not measured"
        if accuracy is None
        else show_share(accuracy) + " (below target)" * result.below_target,
        "memory": show_memory(peak) if peak else "not measured",
    }


TOOLTIP = [
    alt.Tooltip("framework:N"),
    alt.Tooltip("rows text:N", title="rows"),
    alt.Tooltip("track:N"),
    alt.Tooltip("threads:N"),
    alt.Tooltip("train:N", title="training"),
    alt.Tooltip("accuracy:N"),
    alt.Tooltip("memory:N", title="peak memory"),
    alt.Tooltip("outcome:N"),
]


def _whiskers(points: list[dict[str, Any]], frameworks: Sequence[str], x: alt.X, y: alt.Y) -> alt.Chart:
    """The interval of each mark, as a bar through it."""
    low = y.copy()
    low.shorthand = "low:Q"
    return _chart(points).mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2="high:Q", color=_looks(frameworks)[0])


def _lines(points: Sequence[dict[str, Any]], frameworks: Sequence[str], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """A line per framework and track, a full mark per size, a hollow one where the target was not reached."""
    color, shape = _looks(frameworks)
    tracks = sorted({point["track"] for point in points}, key=lambda track: (track != "tuned", track))
    line = alt.Chart(alt.Data(values=list(points))).mark_line()
    line = line.encode(
        x=x,
        y=y,
        color=color,
        detail="series:N",
        strokeWidth=alt.when(alt.datum.framework == "baseline").then(alt.value(1)).otherwise(alt.value(2)),
    )
    if len(tracks) > 1:
        dashes = [[1, 0] if track == "tuned" else [5, 4] for track in tracks]
        line = line.encode(
            strokeDash=alt.StrokeDash(
                "track:N",
                title="track",
                scale=alt.Scale(domain=tracks, range=dashes),
                legend=alt.Legend(symbolSize=500, symbolStrokeWidth=2),
            )
        )
    marks = alt.Chart(alt.Data(values=list(points)))
    places: dict[str, Any] = {"x": x, "y": y, "color": color, "shape": shape, "tooltip": TOOLTIP}
    full = marks.transform_filter("!datum.below").mark_point(filled=True, size=75, opacity=1).encode(**places)
    hollow = marks.transform_filter("datum.below").mark_point(filled=False, fill="white", size=75, opacity=1)
    return [line, full, hollow.encode(**places)]


def _crosses(
    failures: Sequence[dict[str, Any]], frameworks: Sequence[str], x: alt.X, y: alt.Y, span: tuple[float, float]
) -> list[alt.Chart]:
    """The cases that did not end: a cross in the colour of the framework, and towards the middle what happened."""
    crosses = []
    for align, sign in (("left", 1), ("right", -1)):
        here = [failure for failure in failures if (failure["rows"] ** 2 < math.prod(span)) == (sign == 1)]
        if here:
            chart = _chart(here).encode(x=x, y=y, color=_looks(frameworks)[0], tooltip=TOOLTIP)
            crosses.append(chart.mark_point(shape=CROSS, size=90, strokeWidth=2.5, opacity=1, filled=False))
            crosses += _text(chart.encode(text="label:N"), None, align=align, dx=9 * sign, fontSize=10.5)
    return crosses


def _text(chart: alt.Chart, color: str | None, **mark: Any) -> list[alt.Chart]:
    """Words that stay legible on a line: a white halo first. Without a colour they have that of the encoding."""
    halo = chart.encode(color=alt.value("white")).mark_text(stroke="white", strokeWidth=4, **mark)
    words: dict[str, Any] = {**mark, "color": color} if color else mark
    return [halo, chart.mark_text(**words)]


def _looks(frameworks: Iterable[str]) -> tuple[alt.Color, alt.Shape]:
    """The two encodings that tell frameworks apart, with one legend."""
    names = ordered(frameworks)
    colors, shapes = (alt.Scale(domain=names, range=[look(name)[part] for name in names]) for part in (0, 1))
    return alt.Color("framework:N", scale=colors), alt.Shape("framework:N", scale=shapes)


def ordered(frameworks: Iterable[str]) -> list[str]:
    """Frameworks without repetition, in the order of LOOKS; those that it does not know come last."""
    known = list(LOOKS)
    return sorted(set(frameworks), key=lambda name: (known.index(name) if name in LOOKS else len(known), name))


def _x(rows: Iterable[int]) -> alt.X:
    sizes = sorted(set(rows))
    label = "datum.value >= 1e6 ? format(datum.value / 1e6, ',') + ' M' : format(datum.value, ',')"
    return alt.X(
        "rows:Q",
        title="Rows of training data",
        scale=alt.Scale(type="log", domain=_span(sizes), nice=False),
        axis=alt.Axis(values=sizes, labelExpr=label, labelOverlap="greedy", grid=False),
    )


def _span(sizes: Sequence[int]) -> tuple[float, float]:
    """The ends of the axis of rows: the sizes, and room beside them."""
    return min(sizes) / 1.6, max(sizes) * 1.6


def _y(title: str, bottom: float, top: float, ticks: Sequence[float], label: str) -> alt.Y:
    reverse = bottom > top
    return alt.Y(
        "y:Q",
        title=title,
        scale=alt.Scale(type="log", domain=sorted((bottom, top)), reverse=reverse, nice=False),
        axis=alt.Axis(values=list(ticks), labelExpr=label, labelOverlap="greedy"),
    )


def _decades(values: Iterable[float]) -> tuple[float, float]:
    """The powers of ten around the values, with room above the largest."""
    known = list(values)
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known) * 1.2))
    return 10.0**low, 10.0 ** max(high, low + 1)


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten from low to high, with 2 and 5 between them where there is room."""
    first, last = round(math.log10(low)), round(math.log10(high))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    return [tick for power in range(first, last + 1) for step in steps if (tick := step * 10.0**power) <= high]


def _chart(values: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.Data(values=values))


def _finish(layers: Sequence[alt.Chart], title: str, height: int = HEIGHT) -> alt.LayerChart:
    chart = alt.layer(*layers, title=title, width=WIDTH, height=height).properties(description=title)
    return (
        chart.configure(background="white")
        .configure_view(stroke=None)
        .configure_title(anchor="start", fontSize=15, offset=12)
        .configure_axis(
            labelFontSize=11.5, titleFontSize=12, titleFontWeight="normal", gridColor="#e6e6e6", titlePadding=8
        )
        .configure_legend(
            labelFontSize=11.5, titleFontSize=12, titleFontWeight="normal", symbolOpacity=1, labelLimit=220
        )
    )
