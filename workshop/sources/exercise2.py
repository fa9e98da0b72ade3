# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (irisbench)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 2: a framework of your own in the benchmark
#
# You add a framework to irisbench, in plain NumPy: the *nearest centroid* classifier. It keeps, for each species, the average
# flower. A new flower belongs to the species whose average is nearest.
#
# All frameworks stand behind the same methods, the *contract*: `adapters/base.py` says what each promises. An adapter that keeps it
# is measured like all others, and appears in the report beside them. Yours is one file, and no file of irisbench changes: commands
# take it by `--adapter`.

# %% [markdown] tags=["template"]
# ## The adapter
#
# The second cell is the adapter. It writes `my/nearest_centroid.py` whenever you run it; Git leaves the folder `my/` alone. Much of
# the file is there. `FRAMEWORK` says what irisbench has to know before it imports the file: the name, the class, the modules
# and packages that it needs, and how charts show it. What is `...` is yours, in three gaps:
#
# 1. **learn**: `train` gets a table, with `table.features`, shape (n, 4), in cm, and `table.species`, the codes 0, 1, 2, shape
#    (n,). It returns your model: the average of the measurements of each species, shape (3, 4).
# 2. **predict**: `_distances` gives, for each flower, the squared distance to each average, shape (n, 3). From it follow
#    `predict`, class codes as int8; `predict_proba`, float32 that sum to 1 in each row and are largest where `predict` says; and
#    `predict_one`, for a web page that asks about one flower, shape (4,).
# 3. **keep**: `save` writes the model into a folder, and `restore` reads it again, the same to the last digit. Use a format that
#    runs no code when it is read: JSON, or `.npy` without pickle.
#
# You need not fill all gaps at once: the cell after it tells you what is not right yet, gap by gap.

# %% [markdown] tags=["solution"]
# **Solved.** One good solution. The second cell is the adapter, and writes it to `my/nearest_centroid.py`.

# %%
from workshop import own_framework

own_framework.folder()

# %% tags=["gap"]
# %%writefile ../../my/nearest_centroid.py
"""The nearest centroid in plain NumPy: the species whose average flower is nearest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import Adapter, Recipe, Resources
from adapters.errors import NoSpecies
from datasets import store, streaming

FRAMEWORK = {
    "name": "nearest-centroid",
    "adapter": "NearestCentroid",  # the class below
    "modules": ["numpy"],  # what it imports
    "requires": ["numpy"],  # the packages to install; the report shows the version of the first
    "format": "JSON",  # what a model is saved as: change it, if you take another format
    "style": {"colour": "#7B4B94", "mark": "triangle-left"},
    "contract": {"models": ["logistic"], "floor": {"logistic": 0.9}, "streams": [], "has_blas": False},
}


class NearestCentroid(Adapter):
    """Keeps an average flower for each species, shape (3, 4), in cm."""

    serving = "the averages, on an array of four"

    def start(self, resources: Resources) -> None:
        self._threads = resources.threads

    def build(self) -> dict[str, Any]:
        return {"numpy": np.__version__}

    def load(self, path: Path) -> streaming.InMemory:
        return streaming.InMemory(*store.read(path))

    def recipe(self, model: str, rows: int) -> Recipe:
        return Recipe(model, "averages")

    def unsupported(self, model: str) -> str | None:
        return None if model == "logistic" else "it is no network"

    def describe(self, model: NDArray[np.float32]) -> dict[str, Any]:
        return {"algorithm": "averages", "threads": self._threads}

    # GAP 1: learn

    def train(self, table: streaming.InMemory, recipe: Recipe, seed: int) -> NDArray[np.float32]:
        if not table.has_species:
            raise NoSpecies
        # gap: return ...
        return np.stack([table.features[table.species == code].mean(axis=0) for code in range(3)])
        # end of gap

    # GAP 2: predict

    def _distances(self, model: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        # gap: return ...
        return ((features[:, None, :] - model) ** 2).sum(axis=2)
        # end of gap

    def predict(self, model: NDArray[np.float32], table: streaming.InMemory) -> NDArray[np.int8]:
        # gap: return ...
        return self._distances(model, table.features).argmin(axis=1).astype(np.int8)
        # end of gap

    def predict_proba(self, model: NDArray[np.float32], table: streaming.InMemory) -> NDArray[np.float32]:
        # gap: return ...
        distances = self._distances(model, table.features)
        nearness = np.exp(distances.min(axis=1, keepdims=True) - distances)
        return nearness / nearness.sum(axis=1, keepdims=True)
        # end of gap

    def predict_one(self, model: NDArray[np.float32], flower: NDArray[np.float32]) -> int:
        # gap: return ...
        return int(((model - flower) ** 2).sum(axis=1).argmin())
        # end of gap

    # GAP 3: keep

    def save(self, model: NDArray[np.float32], folder: Path) -> None:
        # gap: ...
        (folder / "averages.json").write_text(json.dumps(model.tolist()))
        # end of gap

    def restore(self, folder: Path) -> NDArray[np.float32]:
        # gap: return ...
        return np.array(json.loads((folder / "averages.json").read_text()), dtype=np.float32)
        # end of gap


# %% [markdown]
# ## Try it
#
# `check` asks your adapter about the real flowers, and says which gap is not right yet.

# %%
own_framework.check("../../my/nearest_centroid.py")

# %% [markdown]
# ## Does it keep the contract?
#
# These are the tests that all frameworks pass, run for yours. The first one that fails says what it wanted. The line with `$` is the
# command: it does the same in a terminal, in the folder of irisbench.

# %%
own_framework.contract("../../my/nearest_centroid.py")

# %% [markdown]
# ## In the benchmark
#
# Beside scikit-learn, on the real flowers and on 10,000 synthetic ones. It ends with the path of a report.

# %%
own_framework.benchmark("../../my/nearest_centroid.py", "nearest-centroid", "scikit-learn")

# %% [markdown]
# **Ask yourself:** it is fast, and it is small. Does it reach the target? Open `report.html` from disk, and look at the
# question at its top, then at the chart of accuracy: what does it lack that more rows do not bring?
