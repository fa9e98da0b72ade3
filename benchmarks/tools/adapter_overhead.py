"""Adapter overhead: compare an adapter's tuned mlp recipe with the same recipe written directly in the framework.

Both read the same rows, shuffle them, and return a model and class labels. They run alternately.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from adapters import registry
from adapters.base import Recipe, Resources, given
from benchmarks import case_data, statistics
from benchmarks.results import detect_environment
from benchmarks.units import show_seconds
from datasets import store
from errors import BadInput
from machine import pin

WithoutAdapter = Callable[[Path, Recipe, int], tuple[Callable[[], Any], Callable[[Any], Any]]]


def scikit_learn(path: Path, recipe: Recipe, threads: int) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, species = store.read(path)
    assert species is not None

    def train() -> Any:
        network = MLPClassifier(
            (16,),
            alpha=0.0,
            batch_size=recipe.batch_size,
            learning_rate_init=recipe.learning_rate,
            shuffle=False,
            random_state=0,
        )
        scaler = StandardScaler()
        for epoch in range(int(given(recipe.epochs))):
            order = np.random.default_rng(epoch).permutation(len(features))
            for start in range(0, len(order), store.GROUP_ROWS):
                rows = order[start : start + store.GROUP_ROWS]
                x = features[rows]
                if epoch == start == 0:
                    scaler.fit(x)
                network.partial_fit(scaler.transform(x), species[rows], classes=range(3))
        return make_pipeline(scaler, network)

    def predict(model: Any) -> Any:
        starts = range(0, len(features), store.GROUP_ROWS)
        return np.concatenate([model.predict(features[start : start + store.GROUP_ROWS]) for start in starts])

    return train, predict


def pytorch(path: Path, recipe: Recipe, threads: int) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    numbers, codes = store.read(path)
    assert codes is not None
    features, species = torch.from_numpy(numbers), torch.from_numpy(codes)
    batch, epochs, peak = given(recipe.batch_size), int(given(recipe.epochs)), given(recipe.learning_rate)

    def train() -> Any:
        torch.manual_seed(0)
        first = nn.Linear(4, 16)
        net = nn.Sequential(first, nn.ReLU(), nn.Linear(16, 3))
        optimizer = torch.optim.Adam(net.parameters(), lr=peak, fused=True)
        steps = epochs * (len(features) // batch)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        loss_function = nn.CrossEntropyLoss()
        sample = features[torch.randperm(len(features))[: store.GROUP_ROWS]]
        mean, scale = sample.mean(0), sample.std(0)
        for _ in range(epochs):
            for rows in torch.randperm(len(features)).split(store.GROUP_ROWS):
                x, y = (features[rows] - mean) / scale, species[rows].long()
                for start in range(0, len(x) - batch + 1, batch):
                    optimizer.zero_grad()
                    loss_function(net(x[start : start + batch]), y[start : start + batch]).backward()
                    optimizer.step()
                    rate.step()
        with torch.no_grad():
            first.weight /= scale
            first.bias.sub_(first.weight @ mean)
        return net

    def predict(model: Any) -> Any:
        pieces = features.split(store.GROUP_ROWS)
        with torch.inference_mode():
            return torch.cat([model(x).argmax(1).to(torch.int8) for x in pieces]).numpy()

    return train, predict


WITHOUT_ADAPTER: dict[str, WithoutAdapter] = {"scikit-learn": scikit_learn, "pytorch-cpu": pytorch}


def measure(framework: str, rows: int, rounds: int, threads: int, console: Console) -> None:
    """Train and predict with and without the adapter alternately, and print the ratio of the medians."""
    row = registry.FRAMEWORKS[framework]
    if reason := row.missing():
        raise BadInput(f"{framework} is unavailable: {reason}")
    registry.hide_others(framework)
    pin(threads)
    case_data.make(rows, 0)
    path = case_data.inputs(rows, 0).train
    seconds: dict[tuple[str, str], list[float]] = {}

    def timed(phase: str, variant: str, work: Callable[[], Any]) -> Any:
        gc.collect()
        began = time.perf_counter()
        result = work()
        seconds.setdefault((phase, variant), []).append(time.perf_counter() - began)
        return result

    with TemporaryDirectory(prefix="irisbench-") as folder, row.create() as adapter:
        adapter.start(Resources(threads, detect_environment.default_memory_limit(), Path(folder), row.device))
        table = adapter.load(path)
        recipe = adapter.recipe("mlp", rows)
        train, predict = WITHOUT_ADAPTER[framework](path, recipe, threads)
        variants: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
            "adapter": (lambda: adapter.train(table, recipe, 0), lambda model: adapter.predict(model, table)),
            "direct": (train, predict),
        }
        for number in range(rounds + 1):
            for variant in sorted(variants, reverse=bool(number % 2)):
                model = timed("train", variant, variants[variant][0])
                timed("predict", variant, partial(variants[variant][1], model))
            if not number:
                seconds.clear()  # the first calls compile and fill caches
    result = Table(title=f"{framework}, mlp, {rows:,} rows: adapter overhead, {rounds} repeats of each variant")
    for heading in ("", "adapter", "direct", "ratio"):
        result.add_column(heading, justify="right" if heading else "left")
    for phase in ("train", "predict"):
        with_adapter, direct = seconds[phase, "adapter"], seconds[phase, "direct"]
        ratio = statistics.ratio([[value] for value in direct], [[value] for value in with_adapter])
        assert ratio
        medians = (show_seconds(float(np.median(values))) for values in (with_adapter, direct))
        result.add_row(phase, *medians, f"{ratio.ratio:.3f} ({ratio.low:.3f} – {ratio.high:.3f})")
    console.print(result)
