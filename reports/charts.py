"""Charts of one run, made once: the page embeds the very objects that become the files beside it.

In the page, `hidden` are the frameworks that its reader has switched off.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import altair as alt
import numpy as np

from benchmarks.results.runs import Run
from benchmarks.units import show_memory, show_rows, show_seconds, show_share, show_threads, show_throughput
from reports.results import DRIFT, Probe, Result, median, moved, probes, results, show_estimate
from reports.scaling import REACH, Law
from reports.styles import Legend, Style, of_run, ordered
from reports.verdict import FLOWERS, Contender, default_question, sentence

CROSS = "M-.8,-.8L.8,.8M-.8,.8L.8,-.8"
PHASES = {"import": "#332288", "start": "#88CCEE", "load": "#DDCC77", "train": "#CC6677", "predict_one": "#117733"}
SHARES = {"when started": "#88CCEE", "for the data": "#DDCC77", "for training": "#CC6677"}
TRACK_LOOKS = {"default": ("#9A9A9A", "circle"), "tuned": ("#0072B2", "square")}
FAILURES = ("timeout", "out-of-memory", "failed")
WIDTH, HEIGHT = 460, 300
LEAST_ERROR = 0.002
BYTES = (
    "datum.value >= 1073741824 ? format(datum.value / 1073741824, ',') + ' GiB'"
    " : format(datum.value / 1048576, ',~r') + ' MiB'"
)
SHOWN = "indexof(hidden, datum.framework) < 0"


CONFIG = {
    "background": "white",
    "view": {"stroke": None},
    "title": {"anchor": "start", "fontSize": 15, "offset": 12},
    "axis": {
        "labelFontSize": 11.5,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": "#e6e6e6",
        "titlePadding": 8,
    },
    "legend": {
        "labelFontSize": 11.5,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolOpacity": 1,
        "labelLimit": 220,
    },
}


@dataclass(frozen=True)
class Figure:
    """A chart of a model with the name of its files and the sentence to read it by."""

    name: str
    model: str | None
    caption: str
    chart: alt.LayerChart | alt.FacetChart

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The chart in the words of Vega-Lite, without the address of their definition."""
        found = self.chart.to_dict(validate=False)
        del found["$schema"]
        # Here, since altair copies a chart with all its data whenever something is added to it.
        return found | {"config": CONFIG, "params": [*found.get("params", ()), {"name": "hidden", "value": []}]}

    @cached_property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """What the tooltips of the chart say, mark by mark: its headings and rows, for who cannot see it."""
        columns: dict[str, str] = {}
        points: list[dict[str, Any]] = []
        datasets = self.specification.get("datasets", {})
        inner = self.specification.get("spec", self.specification)
        for layer in inner["layer"]:
            if tips := layer.get("encoding", {}).get("tooltip"):
                columns |= {tip["field"]: tip.get("title", tip["field"]) for tip in tips}
                data = layer.get("data") or inner.get("data") or self.specification["data"]
                values = datasets[data["name"]] if "name" in data else data["values"]
                points += [point for point in values if point not in points]
        rows = [[str(point.get(field, "")) for field in columns] for point in points]
        return list(columns.values()), list(map(list, dict.fromkeys(map(tuple, rows))))


def figures(run: Run, contenders: Sequence[Contender]) -> list[Figure]:
    """The charts of a run, model by model; those for which the run has no values are left out."""
    # Not held against the schema of Vega-Lite part by part, which took 5 of the 30 s of a full report; a test does it.
    with alt.utils.schemapi.debug_mode(False):
        return _figures(run, contenders)


def _figures(run: Run, contenders: Sequence[Contender]) -> list[Figure]:
    found, styles = results(run.records), of_run(run)
    made: list[Figure] = []
    for model in dict.fromkeys(record.case.model for record in run.records):
        rows = default_question(contenders, model).rows
        own = [result for result in found if result.case.model == model]
        # The baseline does no more than count: beside it, all that learn would be squeezed into one line.
        models = [result for result in own if result.case.framework != "baseline"] or own
        tracks = {result.case.track for result in models}
        # One line a framework: the tracks have a chart of their own.
        tuned = [result for result in models if result.case.track == "tuned"] or models
        laws = [
            (one, law)
            for one in contenders
            if (one.run, one.model) == (run.name, model)
            and one.track == tuned[0].case.track
            and isinstance(law := one.times["train"], Law)
        ]
        several = len({result.case.threads for result in tuned}) > 1
        slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-") or "model"
        for kind, caption, chart in (
            (
                "train",
                TRAIN_CAPTION + LAW_CAPTION * bool(laws),
                train_chart(tuned, model, styles, run.environment.settings.time_limit_s, laws),
            ),
            ("frontier", FRONTIER_CAPTION + THREADS_CAPTION * several, frontier_chart(tuned, model, rows, styles)),
            ("accuracy", ACCURACY_CAPTION, accuracy_chart(tuned, model, styles)),
            ("log-loss", LOG_LOSS_CAPTION, log_loss_chart(tuned, model, styles)),
            ("memory", MEMORY_CAPTION, memory_chart(tuned, model, styles)),
            ("memory-shares", SHARES_CAPTION, shares_chart(tuned, model)),
            ("first-prediction", FIRST_CAPTION, first_prediction_chart(tuned, model)),
            ("throughput", THROUGHPUT_CAPTION, throughput_chart(tuned, model, styles)),
            ("latency", LATENCY_CAPTION, latency_chart(tuned, model, styles)),
            ("tracks", TRACKS_CAPTION, tracks_chart(models, model) if len(tracks) > 1 else None),
        ):
            if chart is not None:
                name = f"{kind}-{slug}"
                taken = sum(re.sub(r"-\d+$", "", figure.name) == name for figure in made)
                made.append(Figure(f"{name}-{taken + 1}" if taken else name, model, caption, chart))
    if (drift := probe_chart(probes(run.records))) is not None:
        made.append(Figure("probe", None, PROBE_CAPTION, drift))
    return made


TRAIN_CAPTION = (
    "Lower is faster. A bar through a mark is its 95 % interval. A hollow mark did not reach its target for accuracy "
    "or log-loss, and counts in no ranking. A cross is a case that did not end: it stands at its number of rows, and "
    "its height says nothing about time."
)
LAW_CAPTION = (
    " A band is a law that was fitted to the measured sizes, start-up + c · rows^k, with its 95 % interval; where its "
    "line is dashed, it is predicted, not measured."
)
FRONTIER_CAPTION = (
    "Up and to the left is better. Nothing is both faster and more accurate than what the stepped line goes through."
)
THREADS_CAPTION = " The number next to a mark is its number of threads."
ACCURACY_CAPTION = (
    "Higher is better. The axis is stretched towards 1, where the differences are. No model can beat the dashed line "
    "on average; 150 rows are the real flowers, for which nobody knows it."
)
LOG_LOSS_CAPTION = (
    "Lower is better: how far the probabilities are from the best that anybody could give. Where a line is flat, "
    "more rows do not help."
)
MEMORY_CAPTION = "Lower is leaner: the most that all processes together held while they loaded, trained and predicted."
SHARES_CAPTION = (
    "What holds the memory: the framework itself when it has started, what the data adds, and what training adds."
)
FIRST_CAPTION = (
    "What a first answer costs after a cold start: everything is done for the first time. "
    "It is measured up to 100,000 rows."
)
THROUGHPUT_CAPTION = "Higher is faster: rows for which classes are predicted in one second, all in one call."
LATENCY_CAPTION = (
    "Further left is faster: one flower at a time, as a web service asks. The mark is the median call; of 100 calls, "
    "95 and 99 are faster than the ends of the thick and the thin line."
)
TRACKS_CAPTION = (
    "What the way of the getting-started page costs beside that of an expert, at the largest size that both have. "
    "A hollow mark did not reach its target for accuracy or log-loss."
)
PROBE_CAPTION = (
    "The same small piece of work, timed before each case: the machine's own speed during the run. Lower is faster. "
    "A diamond is more than 10 % from the median, the dashed line: what was measured there is to be taken with care."
)


def train_chart(
    own: Sequence[Result],
    model: str,
    styles: Mapping[str, Style],
    time_limit: float | None = None,
    laws: Sequence[tuple[Contender, Law]] = (),
) -> alt.LayerChart | None:
    """Training seconds against rows, both logarithmic, with a cross for each case that did not end, and the laws."""
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
        failure["y"] = top * step ** (level + 1.5)  # above the words of the time limit
    curves = [point for contender, law in laws for point in _curve(contender, law)]
    ends = [point[end] for point in points for end in ("low", "high")]
    low, high = _decades([*ends, *(point["y"] for point in curves + failures)])
    y = _y("Training time (seconds)", low, high, _ticks(low, high), "format(datum.value, ',')")
    sizes = [point["rows"] for point in points + failures]
    legend = _legend(points, own, styles)
    x = _x(sizes, last=max((REACH * law.largest for _, law in laws), default=0))
    below: list[alt.Chart] = _bands(curves, legend, x, y)
    if time_limit and failures:
        limit = _chart([{"y": time_limit, "text": f"time limit {show_seconds(time_limit)}"}])
        rule = limit.mark_rule(color="#999", strokeDash=[2, 3]).encode(y=y)
        below += [rule, *_text(limit.encode(x=alt.value(4), y=y, text="text:N"), "#666", align="left", dy=-7)]
    above = _crosses(failures, legend, x, y, _span(sizes))
    lines = [_whiskers(points, legend, x, y), *_lines(points, legend, x, y)]
    return _finish([*below, *lines, *above], f"{model}: how long training takes")


def _curve(contender: Contender, law: Law) -> list[dict[str, Any]]:
    """Return the points of a law: fitted up to its largest size, and predicted as far as it is believed."""
    points = []
    for part, first, last in (("fitted", law.smallest, law.largest), ("predicted", law.largest, REACH * law.largest)):
        rows = np.geomspace(first, last, 16)
        for place, y, low, high in zip(rows, *law.mean(rows), strict=True):
            ends = {"low": float(low), "high": float(high)}
            names: dict[str, Any] = {"framework": contender.framework, "threads": contender.threads, "part": part}
            points.append({**names, "rows": float(place), "y": float(y), **ends})
    return points


def _bands(curves: list[dict[str, Any]], legend: Legend, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The intervals of laws, and a dashed line where they predict."""
    if not curves:
        return []
    low, color = y.copy(), legend.color
    low.shorthand = "low:Q"
    chart = _chart(curves).transform_filter(SHOWN)
    band = chart.mark_area(opacity=0.13, clip=True).encode(
        x=x, y=low, y2="high:Q", color=color, detail=["part:N", "threads:N"]
    )
    line = chart.transform_filter("datum.part == 'predicted'").mark_line(strokeDash=[2, 4], strokeWidth=2, clip=True)
    return [band, line.encode(x=x, y=y, color=color, detail="threads:N")]


def accuracy_chart(own: Sequence[Result], model: str, styles: Mapping[str, Style]) -> alt.LayerChart | None:
    """Accuracy against rows with the Bayes accuracy; the height of a mark is its error, logarithmic and upside down."""

    def height(accuracy: float) -> float:
        return max(1 - accuracy, LEAST_ERROR)

    known = [(result, accuracy) for result in own if (accuracy := result.quality("accuracy")) is not None]
    if not known:
        return None
    points = [_point(result, height(accuracy)) for result, accuracy in known]
    legend = _legend(points, own, styles)
    best = {result.case.rows: bayes for result, _ in known if (bayes := result.quality("bayes_accuracy")) is not None}
    bounds = [height(bayes) for bayes in best.values()] + [point["y"] for point in points]
    low, high = 0.8 * min(bounds), min(1.0, 1.25 * max(bounds))
    ticks = [1 - share for share in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995)]
    label = "format(round((1 - datum.value) * 1000) / 1000, '~g')"
    y = _y("Accuracy", high, low, [tick for tick in ticks if low <= tick <= high], label)
    sizes = [point["rows"] for point in points] + _failed_rows(own)
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
    above = _failed_at(own, x, legend)
    return _finish([*extra, *above, *_lines(points, legend, x, y)], f"{model}: how accurate the trained model is")


def memory_chart(own: Sequence[Result], model: str, styles: Mapping[str, Style]) -> alt.LayerChart | None:
    """Peak memory of the process tree against rows, both logarithmic."""
    points = [_point(result, float(peak)) for result in own if (peak := result.peak_memory_bytes)]
    if not points:
        return None
    heights = [point["y"] for point in points]
    first, last = math.floor(math.log2(min(heights))), math.ceil(math.log2(max(heights) * 1.0001))
    ticks = [2.0**power for power in range(first, last + 1, max(1, math.ceil((last - first) / 8)))]
    y = _y("Peak memory (MiB, GiB)", 2.0**first, 2.0**last, ticks, BYTES)
    x = _x([point["rows"] for point in points] + _failed_rows(own))
    legend = _legend(points, own, styles)
    lines = _lines(points, legend, x, y)
    return _finish([*_failed_at(own, x, legend), *lines], f"{model}: how much memory it takes")


def first_prediction_chart(own: Sequence[Result], model: str) -> alt.LayerChart | None:
    """Seconds from start to first prediction, phase by phase, at the largest size that has a cold start."""
    rows = max((result.case.rows for result in own if result.first_prediction_seconds is not None), default=None)
    chosen = [result for result in own if result.case.rows == rows and result.first_prediction_seconds is not None]
    if not chosen:
        return None
    tracks = len({result.case.track for result in chosen}) > 1
    bars, totals = [], {}
    for result in chosen:
        bar = f"{result.name} ({result.case.track})" if tracks else result.name
        if bar in totals:
            continue  # a second seed would make the bar twice as long
        cold = {phase: result.cold_seconds(phase) or 0.0 for phase in PHASES}
        totals[bar] = sum(cold.values())
        for order, (phase, seconds) in enumerate(cold.items()):
            bars.append(
                {
                    "bar": bar,
                    "framework": result.case.framework,
                    "phase": phase.replace("_", " "),
                    "order": order,
                    "seconds": seconds,
                    "time": show_seconds(seconds),
                }
            )
    owner = {bar["bar"]: bar["framework"] for bar in bars}
    sums = [
        {"bar": bar, "framework": owner[bar], "seconds": total, "time": show_seconds(total)}
        for bar, total in totals.items()
    ]
    y = alt.Y("bar:N", title=None, sort=sorted(totals, key=lambda bar: totals[bar]), axis=alt.Axis(labelLimit=240))
    longest = 1.12 * max(totals.values()) or 1.0
    x = alt.X("seconds:Q", title="Seconds in these phases", scale=alt.Scale(domain=[0, longest], nice=False))
    scale = alt.Scale(domain=[phase.replace("_", " ") for phase in PHASES], range=list(PHASES.values()))
    stack = _chart(bars).transform_filter(SHOWN).mark_bar()
    stack = stack.encode(
        x=x.stack("zero"),
        y=y,
        color=alt.Color("phase:N", title="phase", scale=scale),
        order="order:Q",
        tooltip=[alt.Tooltip("bar:N", title="framework"), alt.Tooltip("phase:N"), alt.Tooltip("time:N", title="time")],
    )
    text = (
        _chart(sums).transform_filter(SHOWN).mark_text(align="left", dx=4, color="#333").encode(x=x, y=y, text="time:N")
    )
    title = f"{model}: from start to first prediction, {show_rows(rows or 0)} rows"
    return _finish([stack, text], title, height=26 * len(totals) + 10, zoom=False)


def frontier_chart(own: Sequence[Result], model: str, rows: int, styles: Mapping[str, Style]) -> alt.LayerChart | None:
    """Accuracy against the seconds of load and train, at one size, with the line of those that nothing beats."""
    points = []
    for result in own:
        load, train, accuracy = result.seconds("load"), result.seconds("train"), result.quality("accuracy")
        if result.case.rows != rows or result.failure or not load or not train or accuracy is None:
            continue
        if (seconds := load.median + train.median) > 0:
            points.append({**_point(result, accuracy), "seconds": seconds})
    if len(points) < 2:
        return None
    points.sort(key=lambda point: (point["seconds"], -point["y"]))
    best: list[dict[str, Any]] = []
    for point in points:
        if not best or point["y"] > best[-1]["y"]:
            best.append(point)
    slack = 0.15 * (max(point["y"] for point in points) - min(point["y"] for point in points)) or 0.001
    domain = [min(point["y"] for point in points) - slack, min(1.0, max(point["y"] for point in points) + slack)]
    low, high = _decades(point["seconds"] for point in points)
    times = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(values=_ticks(low, high), labelExpr="format(datum.value, ',')", labelOverlap="greedy", grid=False)
    x = alt.X("seconds:Q", title="Load and train (seconds)", scale=times, axis=axis)
    y = alt.Y("y:Q", title="Accuracy", scale=alt.Scale(domain=domain, zero=False), axis=alt.Axis(format="~g"))
    line = _chart(best).transform_filter(SHOWN)
    line = line.mark_line(interpolate="step-after", color="#888", strokeDash=[3, 3], clip=True).encode(x=x, y=y)
    legend = Legend([point["framework"] for point in points], styles)
    marks = _lines(points, legend, x, y)[1:]
    if len({point["threads"] for point in points}) > 1:
        numbered = _chart(points).transform_filter(SHOWN).encode(x=x, y=y, text="threads:N")
        marks += _text(numbered, "#444", align="left", dx=6, dy=8, fontSize=10.5)
    return _finish([line, *marks], f"{model}: time against accuracy, {show_rows(rows)} rows")


def log_loss_chart(own: Sequence[Result], model: str, styles: Mapping[str, Style]) -> alt.LayerChart | None:
    """Log-loss above that of Bayes against rows, both logarithmic."""
    points = [_point(result, gap) for result in own if (gap := result.log_loss_gap) is not None and gap > 0]
    if not points:
        return None
    low, high = _decades(point["y"] for point in points)
    y = _y("Log-loss above Bayes (nats)", low, high, _ticks(low, high), "format(datum.value, '~g')")
    x = _x([point["rows"] for point in points] + _failed_rows(own))
    legend = _legend(points, own, styles)
    lines = _lines(points, legend, x, y)
    return _finish([*_failed_at(own, x, legend), *lines], f"{model}: how good the probabilities are")


def shares_chart(own: Sequence[Result], model: str) -> alt.FacetChart | None:
    """Return the memory after start, added by the data and added by training, stacked: a panel for each framework.

    A framework has one panel per number of threads, and of several seeds the first one.
    """
    known = [
        result
        for result in own
        if result.memory and result.memory.training_bytes and not result.failure and result.case.rows != FLOWERS
    ]
    if not known:
        return None
    bars: list[dict[str, Any]] = []
    shown: set[tuple[str, str, int]] = set()
    for result in known:
        memory = result.memory
        assert memory
        if (place := (result.name, result.case.track, result.case.rows)) in shown:
            continue  # a second seed would make the bar twice as long
        shown.add(place)
        parts = (
            memory.baseline_bytes,
            memory.data_bytes - memory.baseline_bytes,
            memory.training_bytes - max(memory.data_bytes, memory.baseline_bytes),
        )
        for order, (share, value) in enumerate(zip(SHARES, parts, strict=True)):
            names = {"framework": result.case.framework, "panel": result.name, "share": share, "order": order}
            point, rows = {**names, "rows": result.case.rows}, show_rows(result.case.rows)
            bars.append({**point, "rows text": rows, "bytes": max(0, value), "memory": show_memory(max(0, value))})
    order_of = ordered(bar["framework"] for bar in bars)
    panels = list(
        dict.fromkeys(bar["panel"] for bar in sorted(bars, key=lambda bar: order_of.index(str(bar["framework"]))))
    )
    sizes = [show_rows(size) for size in sorted({bar["rows"] for bar in bars})]
    most = max(max(memory.training_bytes, memory.data_bytes) for result in known if (memory := result.memory))
    step = 2.0 ** math.floor(math.log2(most / 3))
    ticks = [step * number for number in range(math.ceil(most / step) + 1)]
    scale = alt.Scale(domain=list(SHARES), range=list(SHARES.values()))
    bar = alt.Chart().mark_bar()
    layer = alt.layer(
        bar.encode(
            x=alt.X("rows text:N", title=None, sort=sizes, axis=alt.Axis(labelAngle=-60)),
            y=alt.Y(
                "bytes:Q",
                title="Memory (MiB, GiB)",
                scale=alt.Scale(domain=[0, ticks[-1]]),
                axis=alt.Axis(labelExpr=BYTES, values=ticks),
            ),
            color=alt.Color("share:N", title="memory", scale=scale),
            order="order:Q",
            tooltip=[
                alt.Tooltip("panel:N", title="framework"),
                alt.Tooltip("rows text:N", title="rows"),
                alt.Tooltip("share:N", title="memory"),
                alt.Tooltip("memory:N", title="bytes"),
            ],
        )
    ).properties(width=max(24, min(90, (WIDTH + 60) / len(panels) - 12)), height=HEIGHT - 70)
    header = alt.Header(title=None, labelOrient="bottom", labelAngle=-20, labelPadding=56, labelFontSize=11)
    title = f"{model}: what holds the memory, by rows"
    faceted = layer.facet(column=alt.Column("panel:N", sort=panels, header=header), data=_data(bars))
    faceted = faceted.transform_filter(SHOWN).properties(title=title, description=title, spacing=8)
    return faceted


def throughput_chart(own: Sequence[Result], model: str, styles: Mapping[str, Style]) -> alt.LayerChart | None:
    """Rows predicted in a second against rows, both logarithmic."""
    points = [
        {**_point(result, speed), "predict": show_throughput(speed)}
        for result in own
        if (time := result.seconds("predict")) and time.median > 0 and (speed := result.case.rows / time.median)
    ]
    if not points:
        return None
    low, high = _decades(point["y"] for point in points)
    label = "datum.value >= 1e6 ? format(datum.value / 1e6, ',') + ' M' : format(datum.value, ',')"
    y = _y("Rows predicted in a second", low, high, _ticks(low, high), label)
    x = _x([point["rows"] for point in points] + _failed_rows(own))
    legend = _legend(points, own, styles)
    lines = _lines(points, legend, x, y)
    return _finish([*_failed_at(own, x, legend), *lines], f"{model}: how fast it predicts")


def latency_chart(own: Sequence[Result], model: str, styles: Mapping[str, Style]) -> alt.LayerChart | None:
    """Return p50, p95 and p99 of the time for one flower: a row for each framework and number of threads.

    Each row is of the largest size.
    """
    largest = {result.name: result for result in sorted(own, key=_by_rows) if result.latencies}
    bars: list[dict[str, Any]] = []
    for name, result in largest.items():
        p50, p95, p99 = result.latencies or (0.0, 0.0, 0.0)
        words = dict(zip(("median", "p95 text", "p99 text"), map(show_seconds, (p50, p95, p99)), strict=True))
        names = {"framework": result.case.framework, "bar": name}
        bars.append({**names, "p50": p50 * 1e3, "p95": p95 * 1e3, "p99": p99 * 1e3, **words})
    bars = [bar for bar in bars if bar["p50"] > 0]
    if not bars:
        return None
    low, high = _decades(bar[name] for bar in bars for name in ("p50", "p99"))
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(values=_ticks(low, high), labelExpr="format(datum.value, ',~r')", labelOverlap="greedy")
    rows = [str(bar["bar"]) for bar in sorted(bars, key=lambda bar: bar["p50"])]
    legend = Legend([str(bar["framework"]) for bar in bars], styles)
    color, shape = legend.color, legend.shape
    chart = _chart(bars).transform_filter(SHOWN)
    chart = chart.encode(
        y=alt.Y("bar:N", title=None, sort=rows, axis=alt.Axis(labelLimit=240)), color=color.legend(None)
    )
    tips = [alt.Tooltip("bar:N", title="framework")]
    tips += [alt.Tooltip(f"{name}:N", title=name.split()[0]) for name in ("median", "p95 text", "p99 text")]
    x = alt.X("p50:Q", title="One flower (milliseconds)", scale=scale, axis=axis)
    thin, thick = chart.mark_rule(strokeWidth=1.5).encode(x=x, x2="p99:Q"), chart.mark_rule(strokeWidth=4.5)
    marks = chart.mark_point(filled=True, size=80, opacity=1).encode(x=x, shape=shape.legend(None), tooltip=tips)
    words = chart.mark_text(align="left", baseline="bottom", dx=7, dy=-3, fontSize=10.5).encode(x=x, text="median:N")
    layers = [thin, thick.encode(x=x, x2="p95:Q"), marks, words.encode(color=alt.value("#333"))]
    return _finish(layers, f"{model}: one flower at a time", height=34 * len(bars) + 10, zoom=False)


def tracks_chart(own: Sequence[Result], model: str) -> alt.LayerChart | None:
    """Return the training time of the two tracks: a row for each framework and number of threads.

    Each row is of the largest size at which both tracks succeeded.
    """
    points: list[dict[str, Any]] = []
    spans: list[dict[str, Any]] = []
    timed = [result for result in sorted(own, key=_by_rows) if not result.failure and _median_of_train(result) > 0]
    order = ordered(result.case.framework for result in timed)
    kinds = {(order.index(result.case.framework), result.case.threads): result for result in timed}
    for _, kind in sorted(kinds.items(), key=lambda item: item[0]):
        framework = kind.case.framework
        both: dict[int, dict[str, Result]] = {}
        for result in timed:
            if result.name == kind.name:
                both.setdefault(result.case.rows, {})[result.case.track] = result
        rows = max((rows for rows, found in both.items() if len(found) > 1), default=None)
        if rows is None:
            continue
        found = [_point(result, _median_of_train(result)) for result in both[rows].values()]
        bar = f"{kind.name}, {show_rows(rows)} rows"
        points += [{**point, "bar": bar, "seconds": point["y"]} for point in found]
        ends = sorted(point["y"] for point in found)
        spans.append({"framework": framework, "bar": bar, "seconds": ends[0], "to": ends[-1]})
    if not points:
        return None
    low, high = _decades(point["seconds"] for point in points)
    axis = alt.Axis(values=_ticks(low, high), labelExpr="format(datum.value, ',')", labelOverlap="greedy")
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    x = alt.X("seconds:Q", title="Training time (seconds)", scale=scale, axis=axis)
    bars = [span["bar"] for span in sorted(spans, key=lambda span: span["seconds"])]
    y = alt.Y("bar:N", title=None, sort=bars, axis=alt.Axis(labelLimit=240))
    tracks = list(TRACK_LOOKS)
    color, shape = (alt.Scale(domain=tracks, range=[TRACK_LOOKS[track][part] for track in tracks]) for part in (0, 1))
    line = _chart(spans).transform_filter(SHOWN).mark_rule(color="#bbb", strokeWidth=3).encode(x=x, x2="to:Q", y=y)
    marks = _chart(points).transform_filter(SHOWN)
    looks = {"x": x, "y": y, "color": alt.Color("track:N", scale=color), "shape": alt.Shape("track:N", scale=shape)}
    full = marks.transform_filter("!datum.below").mark_point(filled=True, size=90, opacity=1)
    hollow = marks.transform_filter("datum.below").mark_point(filled=False, fill="white", size=90, opacity=1)
    layers = [line, *(mark.encode(**looks, tooltip=TOOLTIP) for mark in (full, hollow))]
    return _finish(layers, f"{model}: the default recipe beside the tuned one", height=30 * len(spans) + 10, zoom=False)


def _by_rows(result: Result) -> int:
    return result.case.rows


def _median_of_train(result: Result) -> float:
    time = result.seconds("train")
    return time.median if time else 0.0


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
            "case": probe.title,
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
        "threads text": show_threads(case.threads),
        "outcome": result.outcome if not result.failure else sentence(result.failure),
        "label": f"{result.name}{'' if case.track == 'tuned' else f' {case.track}'}: {result.outcome}",
        "train": show_estimate(train) if train else "not measured",
        "low": train.low if train and train.low else y,
        "high": train.high if train and train.high else y,
        "accuracy": "not measured"
        if accuracy is None
        else show_share(accuracy) + f" (below target: {result.shortfall})" * result.below_target,
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


def _whiskers(points: list[dict[str, Any]], legend: Legend, x: alt.X, y: alt.Y) -> alt.Chart:
    """The interval of each mark, as a bar through it."""
    low = y.copy()
    low.shorthand = "low:Q"
    bars = _chart(points).transform_filter(SHOWN).mark_rule(strokeWidth=1.5, clip=True)
    whiskers: alt.Chart = bars.encode(x=x, y=low, y2="high:Q", color=legend.color)
    return whiskers


def _lines(points: Sequence[dict[str, Any]], legend: Legend, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Return a line per framework, track and number of threads, and a mark per size, hollow below the target.

    Only one track is drawn in one chart of several numbers of threads: the lines with the most threads are solid.
    """
    color, shape = legend.color, legend.shape
    tracks = sorted({point["track"] for point in points}, key=lambda track: (track != "tuned", track))
    threads = sorted({point["threads"] for point in points}, reverse=True)
    line = _chart(points).transform_filter(SHOWN).mark_line(clip=True)
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
    elif len(threads) > 1:
        dashes = [[1, 0], *([5 - min(number, 4), 3] for number in range(len(threads) - 1))]
        line = line.encode(
            strokeDash=alt.StrokeDash(
                "threads text:N",
                title="threads",
                scale=alt.Scale(domain=[show_threads(number) for number in threads], range=dashes),
                legend=alt.Legend(symbolSize=500, symbolStrokeWidth=2),
            )
        )
    marks = _chart(points).transform_filter(SHOWN)
    places: dict[str, Any] = {"x": x, "y": y, "color": color, "shape": shape, "tooltip": TOOLTIP}
    full = (
        marks.transform_filter("!datum.below").mark_point(filled=True, size=75, opacity=1, clip=True).encode(**places)
    )
    hollow = marks.transform_filter("datum.below").mark_point(filled=False, fill="white", size=75, opacity=1, clip=True)
    return [line, full, hollow.encode(**places)]


def _crosses(
    failures: Sequence[dict[str, Any]], legend: Legend, x: alt.X, y: alt.Y, span: tuple[float, float]
) -> list[alt.Chart]:
    """The cases that did not end: a cross in the colour of the framework, and towards the middle what happened."""
    crosses = []
    for align, sign in (("left", 1), ("right", -1)):
        here = [failure for failure in failures if (failure["rows"] ** 2 < math.prod(span)) == (sign == 1)]
        if here:
            chart = _chart(here).transform_filter(SHOWN).encode(x=x, y=y, color=legend.color, tooltip=TOOLTIP)
            crosses.append(chart.mark_point(shape=CROSS, size=90, strokeWidth=2.5, opacity=1, filled=False))
            crosses += _text(chart.encode(text="label:N"), None, align=align, dx=9 * sign, fontSize=10.5)
    return crosses


def _failed_rows(own: Sequence[Result]) -> list[int]:
    return [result.case.rows for result in own if result.outcome in FAILURES]


def _failed_at(own: Sequence[Result], x: alt.X, legend: Legend) -> list[alt.Chart]:
    """A cross at the foot of the chart for each case that did not end, one above the other; hovering tells why."""
    levels: dict[int, list[dict[str, Any]]] = {}
    stacked = Counter[int]()
    for result in own:
        if result.outcome in FAILURES:
            levels.setdefault(stacked[result.case.rows], []).append(_point(result, 0.0))
            stacked[result.case.rows] += 1
    marks = [
        (level, _chart(points).transform_filter(SHOWN).mark_point(shape=CROSS, size=70, strokeWidth=2.5, filled=False))
        for level, points in levels.items()
    ]
    return [
        mark.encode(
            x=x, y=alt.value(HEIGHT - 8 - 14 * level), color=legend.color, opacity=alt.value(1), tooltip=TOOLTIP
        )
        for level, mark in marks
    ]


def _legend(points: Sequence[dict[str, Any]], own: Sequence[Result], styles: Mapping[str, Style]) -> Legend:
    """The frameworks of a chart: those with a mark, and those that did not end."""
    failed = [result.case.framework for result in own if result.outcome in FAILURES]
    return Legend([*(point["framework"] for point in points), *failed], styles)


def _text(chart: alt.Chart, color: str | None, **mark: Any) -> list[alt.Chart]:
    """Words that stay legible on a line: a white halo first. Without a colour they have that of the encoding."""
    halo = chart.encode(color=alt.value("white")).mark_text(stroke="white", strokeWidth=4, **mark)
    words: dict[str, Any] = {**mark, "color": color} if color else mark
    return [halo, chart.mark_text(**words)]


def _x(rows: Iterable[int], last: int = 0) -> alt.X:
    """The axis of rows, to the largest size or as far as `last`."""
    sizes = sorted({*rows, last}) if last else sorted(set(rows))
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


def _chart(values: Sequence[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(_data(values))


def _data(values: Sequence[dict[str, Any]]) -> alt.Data:
    # A tuple, because altair copies lists whenever something is added to a chart.
    return alt.Data(values=tuple(values))  # type: ignore[no-untyped-call]


def _finish(layers: Sequence[alt.Chart], title: str, height: int = HEIGHT, zoom: bool = True) -> alt.LayerChart:
    """The layers as one chart; those with two axes of numbers are zoomed by the wheel with Shift held."""
    if zoom:
        scales = alt.selection_interval(bind="scales", zoom="wheel![event.shiftKey]")
        layers = [*layers[:-1], layers[-1].add_params(scales)]
    return cast(alt.LayerChart, alt.layer(*layers, title=title, width=WIDTH, height=height, description=title))
