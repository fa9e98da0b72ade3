"""The install cost of a framework, computed from the packages that are installed here."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path

import pytest

from adapters import registry
from benchmarks.results import install_cost
from benchmarks.results.environment import InstallCost
from tests.conftest import ROOT, missing


def needs(*frameworks: str) -> None:
    """Skip the test if a framework is missing."""
    for framework in frameworks:
        if reason := missing(framework):
            pytest.skip(reason)


def test_the_packages_of_scikit_learn_include_all_that_they_require() -> None:
    needs("scikit-learn")
    assert install_cost.closure(["scikit-learn", "skops", "threadpoolctl"]) == {
        *("scikit-learn", "cloudpickle", "joblib", "narwhals", "numpy", "scipy", "threadpoolctl"),
        *("skops", "packaging", "prettytable", "wcwidth"),
    }


def test_a_package_that_two_others_require_is_counted_once() -> None:
    needs("scikit-learn")
    assert install_cost.closure(["scikit-learn", "scipy", "NumPy"]) == install_cost.closure(["scikit-learn"])


def test_the_packages_of_an_extra_count_only_if_the_extra_is_requested() -> None:
    assert "vl-convert-python" not in install_cost.closure(["altair"])
    assert "vl-convert-python" in install_cost.closure(["altair[save]"])


def test_the_size_of_a_package_is_the_size_of_its_files_without_byte_code() -> None:
    on_disk = sum(Path(file.locate()).stat().st_size for file in files("numpy") or () if file.suffix != ".pyc")
    assert install_cost.megabytes("numpy") == pytest.approx(on_disk / 1e6)


def test_tensorflow_costs_more_than_scikit_learn_and_the_baseline_costs_only_numpy() -> None:
    needs("scikit-learn", "tensorflow-cpu")
    small, large, least = (install_cost.cost(name) for name in ("scikit-learn", "tensorflow-cpu", "baseline"))
    assert isinstance(small, InstallCost)
    assert isinstance(large, InstallCost)
    assert least == InstallCost(1, round(install_cost.megabytes("numpy"), 1), least.adapter_lines)
    assert large.packages > small.packages > least.packages
    assert large.megabytes > small.megabytes > least.megabytes
    assert small.adapter_lines == len((ROOT / "adapters" / "scikit_learn.py").read_text().splitlines())


def test_a_framework_that_is_not_installed_has_no_install_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    row = registry.Framework("adapters.baseline:Baseline", ("nowhere",), "no-such-distribution", "core", "none")
    monkeypatch.setitem(registry.FRAMEWORKS, "nowhere", row)
    assert install_cost.cost("nowhere") is None
