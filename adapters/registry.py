"""Which frameworks there are, and whether they can run here. Listing imports none of them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from adapters import java
from adapters.base import Adapter

SHARED = ("adapters.base", "adapters.minibatch", "adapters.java", "datasets.store", "datasets.streaming")
"""The modules that every framework's training rests on, beside its own."""


@dataclass(frozen=True)
class Framework:
    """One row of the registry. `group` is the dependency group that brings `modules`; the first module names it.

    `format` is what a model is saved as, `distributed` what the framework has for more than one machine.
    """

    target: str
    modules: tuple[str, ...]
    distribution: str
    group: str
    format: str
    distributed: str = "none"
    device: str = "cpu"
    java: bool = False
    java_module: str | None = None

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def missing(self) -> str | None:
        """None, or the reason why this framework cannot run here, and what to type."""
        if absent := [module for module in self.modules if not importlib.util.find_spec(module)]:
            return f"{', '.join(absent)} is not installed. Type: {self.install}"
        if self.java and (reason := java.missing(self.java_module)):
            return reason
        if self.device == "cuda":
            return self._missing_gpu()
        return None

    @property
    def install(self) -> str:
        return f"uv pip install --group {self.group} --constraints constraints.txt"

    def _missing_gpu(self) -> str | None:
        import pynvml

        try:
            pynvml.nvmlInit()
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            return f"there is no NVIDIA GPU here ({error})"
        if (self.version or "").endswith("+cpu"):
            return (
                f"there is a GPU, but {self.distribution} {self.version} is a build without CUDA. Install one with it"
            )
        return None

    def create(self, track: str = "tuned") -> Adapter:
        """Imports the adapter and makes one; ask `missing` first. An import error comes through whole."""
        module, _, name = self.target.partition(":")
        adapter = getattr(importlib.import_module(module), name)(track)
        assert isinstance(adapter, Adapter)
        return adapter


_PYTORCH = (
    "adapters.pytorch:PyTorch",
    ("torch",),
    "torch",
    "pytorch",
    "weights (.pt)",
    "torch.distributed, not used here",
)
_TENSORFLOW = (
    "adapters.tensorflow_keras:TensorFlow",
    ("tensorflow", "keras"),
    "tensorflow",
    "tensorflow",
    "Keras (.keras)",
    "tf.distribute, not used here",
)

FRAMEWORKS = {
    "baseline": Framework("adapters.baseline:Baseline", ("numpy",), "numpy", "core", "JSON"),
    "scikit-learn": Framework(
        "adapters.scikit_learn:ScikitLearn", ("sklearn", "skops"), "scikit-learn", "scikit-learn", "skops (.skops)"
    ),
    "pytorch-cpu": Framework(*_PYTORCH),
    "pytorch-gpu": Framework(*_PYTORCH, device="cuda"),
    "tensorflow-cpu": Framework(*_TENSORFLOW),
    "tensorflow-gpu": Framework(*_TENSORFLOW, device="cuda"),
    "h2o": Framework(
        "adapters.h2o3:H2O",
        ("h2o",),
        "h2o",
        "h2o",
        "H2O binary, for this version",
        "its own, here of one JVM",
        java=True,
    ),
    "spark": Framework(
        "adapters.spark_mllib:Spark",
        ("pyspark",),
        "pyspark",
        "spark",
        "Spark ML writer (a folder)",
        "its own, here in one JVM",
        java=True,
        java_module="jdk.incubator.vector",
    ),
}


def recipe_digest(name: str) -> str:
    """A digest of the sources that decide how a framework trains: two runs compare only where it is the same."""
    deciding = (FRAMEWORKS[name].target.partition(":")[0], *SHARED)
    files = [Path(spec.origin) for module in deciding if (spec := importlib.util.find_spec(module)) and spec.origin]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def hide_others(name: str) -> None:
    """Makes the other frameworks' modules unimportable in this process, as where only this framework is installed.

    Libraries import what they find for optional features: skops would bring PyTorch into scikit-learn's import time.
    """
    own = FRAMEWORKS[name]
    hidden = {module for row in FRAMEWORKS.values() if row.group not in (own.group, "core") for module in row.modules}

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            return None if fullname.partition(".")[0] in hidden else super().find_spec(fullname, path, target)

    sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
