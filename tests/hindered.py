"""A pytest plugin for the process of a case that makes one phase slow, too short, or short of memory.

PYTEST_ADDOPTS="-p tests.hindered" HINDER="train sleep"    sleeps for ten minutes in train
PYTEST_ADDOPTS="-p tests.hindered" HINDER="train 1.3"      makes train take 1.3 times as long
PYTEST_ADDOPTS="-p tests.hindered" HINDER="train heap"     requests more memory than Spark's JVM has before train
PYTEST_ADDOPTS="-p tests.hindered" HINDER="train early"    stops scikit-learn's logistic regression after 10 iterations
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from unittest.mock import patch

from adapters.registry import Framework

PHASE, HOW = os.environ["HINDER"].split()


def hindered(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does the work of a phase with the hindrance."""

    @wraps(work)
    def slow(*arguments: Any, **named: Any) -> Any:
        if HOW == "sleep":
            time.sleep(600)
        if HOW == "heap":
            exhaust_heap()
        if HOW == "early":
            return stopped_early(work, *arguments, **named)
        began = time.perf_counter()
        result = work(*arguments, **named)
        end = began + float(HOW) * (time.perf_counter() - began)
        while time.perf_counter() < end:
            pass
        return result

    return slow


def stopped_early(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression.fit

    def few_iterations(estimator: LogisticRegression, *data: Any) -> Any:
        return fit(estimator.set_params(max_iter=10), *data)

    with patch.object(LogisticRegression, "fit", few_iterations):
        return work(*arguments, **named)


def exhaust_heap() -> None:
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    assert gateway
    kept = [gateway.new_array(gateway.jvm.long, 10_000_000) for _ in range(1_000)]  # 80 MB each
    assert not kept


def pytest_configure() -> None:
    create = Framework.create

    def hinder(row: Framework, track: str = "tuned") -> Any:
        adapter = create(row, track)
        if PHASE != "import":
            setattr(adapter, PHASE, hindered(getattr(adapter, PHASE)))
        return adapter

    Framework.create = hindered(hinder) if PHASE == "import" else hinder  # type: ignore[method-assign]
