"""The registry of frameworks, and whether each can run here. It does not import any of them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from adapters import digest, java, plugins
from adapters.base import Adapter
from adapters.plugins import Plugin
from errors import BadInput, printable


@dataclass(frozen=True)
class Framework:
    """A row of the registry.

    `target` is the module and the class of the adapter. `group` is the dependency group that installs `modules`.
    `format` is the file format of saved models. `distributed` is the support for several machines. An adapter from
    outside this repository has `plugin` instead of a group, and `file` if the user named its file.
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
    plugin: Plugin | None = None
    file: Path | None = None

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def source(self) -> Path:
        """The file of the adapter."""
        if self.file:
            return self.file
        spec = importlib.util.find_spec(self.module)
        assert spec and spec.origin
        return Path(spec.origin)

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def missing(self) -> str | None:
        """Return the reason why this framework cannot run here, and the command that installs it, or None."""
        if absent := [module for module in self.modules if not importlib.util.find_spec(module)]:
            return f"{', '.join(absent)} is not installed. Type: {self.install}"
        if self.java and (reason := java.missing(self.java_module)):
            return reason
        if self.device == "cuda":
            return self._missing_gpu()
        return None

    @property
    def install(self) -> str:
        if self.plugin:
            return f"uv pip install {shlex.join(self.plugin.requires)}"
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

    def create(self, track: str = "tuned") -> Adapter[Any, Any]:
        """Import the adapter and return a new one. Call `missing` first.

        Raise BadInput if a plug-in fails. Errors in an adapter of this repository are raised unchanged.
        """
        name = self.target.partition(":")[2]
        if self.plugin:
            return plugins.create(self.source, None if self.file else self.module, name, track)
        adapter = getattr(importlib.import_module(self.module), name)(track)
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


OURS = tuple(FRAMEWORKS)
"""Names of the frameworks of this repository. FRAMEWORKS also contains the plug-ins that were added."""


def add_plugins(files: Sequence[Path]) -> None:
    """Add the frameworks of installed packages and of adapter files. Raise BadInput if one is invalid."""
    add_installed()
    for file in files:
        add(file)


def add(path: Path) -> str:
    """Add the framework of an adapter file without running it. Return its name. Raise BadInput if it is invalid."""
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        raise BadInput(f"--adapter {printable(str(path))}: there is no such Python file; name the file of an adapter")
    return _add(plugins.read(path), str(path), path.stem, path)


def add_installed() -> None:
    """Add the frameworks of installed packages with an entry point. Raise BadInput if one is invalid."""
    for entry in importlib.metadata.entry_points(group=plugins.GROUP):
        package = f"the installed package {entry.dist.name if entry.dist else entry.name}"
        try:
            spec = importlib.util.find_spec(entry.module)
        except Exception as error:
            raise BadInput(f"{package} cannot be imported ({error}); correct or uninstall it") from None
        if spec is None or spec.origin is None:
            raise BadInput(f"{package} has no module {entry.module}; correct or uninstall it")
        _add(plugins.read(Path(spec.origin)), package, entry.module)


def _add(plugin: Plugin, where: str, module: str, file: Path | None = None) -> str:
    target = f"{module}:{plugin.adapter}"
    same_name = FRAMEWORKS.get(plugin.name)
    if same_name and (same_name.target, same_name.file) != (target, file):
        raise BadInput(f"{where}: there is a framework {plugin.name} already; choose another name in FRAMEWORK")
    FRAMEWORKS[plugin.name] = Framework(
        target=target,
        modules=plugin.modules,
        distribution=plugin.distribution,
        group="",
        format=plugin.format,
        distributed=plugin.distributed,
        device=plugin.device,
        java=plugin.java,
        plugin=plugin,
        file=file,
    )
    return plugin.name


def recipe_digest(name: str) -> str:
    """Return a digest of the code that affects how a framework trains. Runs can be compared if it is the same."""
    return digest.of_recipe(FRAMEWORKS[name].source)


def hide_others(name: str) -> None:
    """Prevent this process from importing the modules of other frameworks, as if they were not installed.

    Libraries import other packages for optional features. For example, skops imports PyTorch, which would count as
    import time of scikit-learn.
    """
    own = FRAMEWORKS[name]
    others = [FRAMEWORKS[other] for other in OURS if FRAMEWORKS[other].group not in (own.group, "core")]
    hidden = {module for row in others for module in row.modules} - set(own.modules)

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
            return None if fullname.partition(".")[0] in hidden else super().find_spec(fullname, path, target)

    sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
