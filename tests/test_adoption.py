"""What it costs to adopt a framework, on the packages that are installed here."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path

import pytest

from adapters import registry
from benchmarks.run_folder import install_cost
from tests.conftest import ROOT, missing


def needs(*frameworks: str) -> None:
    for framework in frameworks:
        if reason := missing(framework):
            pytest.skip(reason)


def test_scikit_learn_comes_with_what_its_packages_require() -> None:
    needs("scikit-learn")
    assert install_cost.closure(["scikit-learn", "skops", "threadpoolctl"]) == {
        *("scikit-learn", "cloudpickle", "joblib", "narwhals", "numpy", "scipy", "threadpoolctl"),
        *("skops", "packaging", "prettytable", "wcwidth"),
    }


def test_a_package_that_two_require_is_counted_once() -> None:
    needs("scikit-learn")
    assert install_cost.closure(["scikit-learn", "scipy", "NumPy"]) == install_cost.closure(["scikit-learn"])


def test_an_extra_brings_its_packages_only_when_it_is_asked_for() -> None:
    assert "vl-convert-python" not in install_cost.closure(["altair"])
    assert "vl-convert-python" in install_cost.closure(["altair[save]"])


def test_a_size_is_that_of_the_files_on_the_disk() -> None:
    on_disk = sum(Path(file.locate()).stat().st_size for file in files("numpy") or () if file.suffix != ".pyc")
    assert install_cost.megabytes("numpy") == pytest.approx(on_disk / 1e6)


def test_tensorflow_is_bigger_than_scikit_learn_and_the_baseline_is_numpy() -> None:
    needs("scikit-learn", "tensorflow-cpu")
    small, large, floor = (install_cost.cost(name) for name in ("scikit-learn", "tensorflow-cpu", "baseline"))
    assert small and large and floor
    assert large["packages"] > small["packages"] > floor["packages"] == 1
    assert large["megabytes"] > small["megabytes"] > floor["megabytes"] == round(install_cost.megabytes("numpy"), 1)
    assert small["adapter_lines"] == len((ROOT / "adapters" / "scikit_learn.py").read_text().splitlines())


def test_what_is_not_installed_has_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    row = registry.Framework("adapters.baseline:Baseline", ("nowhere",), "no-such-distribution", "core", "none")
    monkeypatch.setitem(registry.FRAMEWORKS, "nowhere", row)
    assert install_cost.cost("nowhere") is None
