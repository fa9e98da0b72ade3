"""PyTorch: an nn.Module and a training loop, on the CPU or on a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from adapters import archives, newton
from adapters.base import HIDDEN, MODELS, Adapter, Recipe, Resources, given
from adapters.errors import ForeignModel, NoSpecies, Unavailable
from adapters.minibatch import candidates, schedule
from datasets import store
from datasets.streaming import BLOCK_ROWS, InMemory, OnDisk, fill

NEWTON_BLOCK_ROWS = 1 << 16
"""Rows whose products are summed in float32. The sums of the blocks are added in float64."""

Table = InMemory[Tensor] | OnDisk
Block = tuple[Tensor, Any]
"""Features in cm and class labels on the device. The labels are None for a table without species."""


class Net(nn.Sequential):
    """A network of four features in cm and three logits."""

    def __init__(self, model: str) -> None:
        widths = (4, *HIDDEN.get(model, ()))
        hidden = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
        super().__init__(*hidden, nn.Linear(widths[-1], 3))
        self.model = model
        self.recipe: dict[str, Any] = {}

    @torch.no_grad()
    def include(self, scaling: Scaling) -> None:
        """Change the weights of a network that was trained on scaled features, so that it takes features in cm."""
        first = self[0]
        assert isinstance(first, nn.Linear)
        first.weight /= scaling.scale
        first.bias.sub_(first.weight @ scaling.mean)


class Scaling:
    """Scaling of features to mean 0 and standard deviation 1, as they are in `x`, in cm, shape (n_rows, 4)."""

    def __init__(self, x: Tensor) -> None:
        self.mean = x.mean(dim=0, dtype=torch.float64).float()
        self.scale = (x - self.mean).square().mean(dim=0, dtype=torch.float64).sqrt().float()
        self.scale[self.scale == 0] = 1.0  # for a constant column

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class PyTorch(Adapter[Table, Net]):
    """PyTorch.

    `default`: SGD over a DataLoader of a TensorDataset, with the batch size, epochs and learning rate of
    https://pytorch.org/tutorials/beginner/basics/quickstart_tutorial.html.

    `tuned`: Newton's method for `logistic`; for networks, Adam over slices of a shuffled tensor.
    """

    serving = "the module in inference mode, on a tensor of four features"

    def start(self, resources: Resources) -> None:
        if resources.device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(f"torch {torch.__version__} finds no usable CUDA device; check it with nvidia-smi")
        torch.set_num_threads(resources.threads)
        self.device = torch.device(resources.device)
        self._threads = resources.threads
        self._memory_bytes = resources.memory_bytes
        torch.zeros(1, device=self.device)
        self._synchronize()

    def build(self) -> dict[str, Any]:
        if self.device.type == "cuda":
            return {
                "blas": "cuBLAS",
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
                "gpu": torch.cuda.get_device_name(self.device),
            }
        blas = re.search(r"\bBLAS_INFO=(\w+)", torch.__config__.show())
        return {
            "blas": blas[1] if blas else None,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "onednn": torch.backends.mkldnn.is_available(),
        }

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def load(self, path: Path) -> Table:
        table = OnDisk.at(path)
        if self.track == "tuned" and not table.fits(self._memory_bytes):
            return table
        return InMemory(*self._on_device(store.read_groups(table.groups)))

    def _on_device(self, block: store.Rows) -> Block:
        features, species = block
        return (
            torch.from_numpy(features).to(self.device),
            None if species is None else torch.from_numpy(species).to(self.device),
        )

    def _in_order(self, table: Table) -> Iterator[Block]:
        return map(self._on_device, table.in_order()) if isinstance(table, OnDisk) else table.in_order()

    def _shuffled(self, table: Table, seed: int) -> Iterator[Block]:
        if isinstance(table, OnDisk):
            yield from map(self._on_device, table.shuffled(seed))
        else:
            assert table.species is not None
            for rows in torch.randperm(len(table), device=self.device).split(BLOCK_ROWS):
                yield table.features[rows], table.species[rows]

    def recipe(self, model: str, rows: int) -> Recipe:
        if self.track == "default":
            return Recipe(model, "DataLoader", batch_size=64, epochs=5, learning_rate=1e-3)
        if model == "logistic":
            return Recipe(model, "Newton", tolerance=1e-3, sample_rows=1 << 14)
        plan = schedule(model, rows, 800, 2) if model == "deep" else schedule(model, rows, large_steps=500)
        rate = 0.2 if model == "mlp" else 0.003
        return Recipe(model, "Adam", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)

    def candidates(self, model: str, rows: int) -> list[Recipe]:
        rates = {"logistic": (0.03, 0.1), "mlp": (0.05, 0.1, 0.2), "deep": (0.001, 0.003)}[model]
        tolerances = (1e-2, 1e-3, 1e-4, 1e-5) if model == "logistic" else ()
        plans = [schedule(model, rows)] if model == "logistic" else candidates(model, rows)
        return [Recipe(model, "Newton", tolerance=tolerance, sample_rows=1 << 14) for tolerance in tolerances] + [
            Recipe(model, "Adam", batch_size=plan.batch_size, epochs=plan.epochs, learning_rate=rate)
            for plan in plans
            for rate in rates
        ]

    def train(self, table: Table, recipe: Recipe, seed: int) -> Net:
        if not table.has_species:
            raise NoSpecies
        torch.manual_seed(seed)
        net: Net = Net(recipe.model).to(self.device)
        net.recipe = recipe.settings() | {"streamed": isinstance(table, OnDisk)}
        match recipe.algorithm:
            case "Newton":
                self._train_by_newton(net, table, recipe)
            case "Adam":
                self._train_by_adam(net, table, recipe, seed)
            case _:
                self._train_by_sgd(net, table, recipe)
        self._synchronize()
        net.eval()
        return net

    def _train_by_sgd(self, net: Net, table: Table, recipe: Recipe) -> None:
        assert isinstance(table, InMemory) and table.species is not None
        scaling = Scaling(table.features)
        dataset = TensorDataset(scaling(table.features), table.species.long())
        optimizer = torch.optim.SGD(net.parameters(), lr=recipe.learning_rate)
        loss_function = nn.CrossEntropyLoss()
        for _ in range(int(given(recipe.epochs))):
            for x, y in DataLoader(dataset, batch_size=recipe.batch_size, shuffle=True):
                loss = loss_function(net(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        net.include(scaling)
        net.recipe["solver"] = "SGD"

    def _train_by_adam(self, net: Net, table: Table, recipe: Recipe, seed: int) -> None:
        batch_size, epochs = given(recipe.batch_size), int(given(recipe.epochs))
        optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, fused=True)
        steps = epochs * (len(table) // batch_size)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        scaling = None
        for epoch in range(epochs):
            for features, species in self._shuffled(table, seed + epoch):
                scaling = scaling or Scaling(features)  # a random block represents all rows
                x, y = scaling(features), species.long()
                for start in range(0, len(x) - batch_size + 1, batch_size):
                    loss = F.cross_entropy(net(x[start : start + batch_size]), y[start : start + batch_size])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    rate.step()
        assert scaling
        net.include(scaling)
        net.recipe |= {"solver": "Adam, fused, cosine decay", "hidden": list(HIDDEN.get(net.model, ()))}

    @torch.inference_mode()
    def _train_by_newton(self, net: Net, table: Table, recipe: Recipe) -> None:
        sample_rows, tolerance = given(recipe.sample_rows), given(recipe.tolerance)
        features, species = next(self._shuffled(table, seed=0))
        scaling = Scaling(features)
        sample = features[:sample_rows], species[:sample_rows]
        weights = np.zeros((5, 2))
        weights, iterations = newton.minimise(partial(_likelihood, [sample], scaling), weights, tolerance)
        if len(table) > sample_rows:
            net.recipe["iterations_on_sample"] = iterations
            weights, iterations = newton.minimise(
                lambda weights: _likelihood(self._in_order(table), scaling, weights), weights, tolerance
            )
        coefficients = F.pad(torch.from_numpy(weights).float(), (1, 0))
        net.load_state_dict({"0.weight": coefficients[:4].T, "0.bias": coefficients[4]})
        net.include(scaling)
        net.recipe |= {"iterations": iterations, "l2": 0.0}

    @torch.inference_mode()
    def predict(self, model: Net, table: Table) -> NDArray[np.int8]:
        labels = (model(x).argmax(dim=1).to(torch.int8) for x, _ in self._in_order(table))
        return fill(np.empty(len(table), np.int8), (block.cpu().numpy() for block in labels))

    @torch.inference_mode()
    def predict_proba(self, model: Net, table: Table) -> NDArray[np.float32]:
        probabilities = (model(x).softmax(dim=1) for x, _ in self._in_order(table))
        return fill(np.empty((len(table), 3), np.float32), (block.cpu().numpy() for block in probabilities))

    @torch.inference_mode()
    def predict_one(self, model: Net, flower: NDArray[np.float32]) -> int:
        return int(model(torch.from_numpy(flower).to(self.device)).argmax())

    def save(self, model: Net, folder: Path) -> None:
        torch.save({"model": model.model, "recipe": model.recipe, "weights": model.state_dict()}, folder / "model.pt")

    def restore(self, folder: Path) -> Net:
        archives.check(folder / "model.pt")
        saved = torch.load(folder / "model.pt", map_location=self.device, weights_only=True)
        if not isinstance(saved, dict) or saved.keys() != {"model", "recipe", "weights"}:
            raise ForeignModel("it does not contain exactly a model, a recipe and weights")
        if saved["model"] not in MODELS or not isinstance(saved["recipe"], dict):
            raise ForeignModel("its model or its recipe is not one that `train` makes")
        net: Net = Net(saved["model"]).to(self.device)
        net.load_state_dict(saved["weights"])
        if not all(weights.isfinite().all() for weights in net.parameters()):
            raise ForeignModel("its weights are not all finite numbers")
        net.recipe = saved["recipe"]
        net.eval()
        return net

    def name_of(self, model: Net) -> str:
        return model.model

    def describe(self, model: Net) -> dict[str, Any]:
        return model.recipe | {"threads": self._threads, "device": str(self.device)}


def _likelihood(
    blocks: Iterable[Block], scaling: Scaling, weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean log-loss and its derivatives for `adapters.newton`."""
    device = scaling.mean.device
    coefficients = torch.from_numpy(weights).float().to(device)
    gradient = torch.zeros((5, 2), dtype=torch.float64, device=device)
    hessian = torch.zeros((5, 2, 5, 2), dtype=torch.float64, device=device)
    same_class = hessian.diagonal(dim1=1, dim2=3)  # shape (5, 5, 2), a view
    loss = torch.zeros((), dtype=torch.float64, device=device)
    n_rows = 0
    for features, species in _split(blocks):
        x = F.pad(scaling(features), (0, 1), value=1.0)  # the fifth column: intercept
        y = species.long()
        log_p = F.pad(x @ coefficients, (1, 0)).log_softmax(dim=1)
        p = log_p[:, 1:].exp()
        px = (x[:, :, None] * p[:, None, :]).view(-1, 10)
        loss += F.nll_loss(log_p, y, reduction="sum")
        gradient += x.T @ (p - F.one_hot(y, 3)[:, 1:])
        hessian -= (px.T @ px).view(5, 2, 5, 2)
        same_class += (x.T @ px).view(5, 5, 2)
        n_rows += len(x)
    return loss.item() / n_rows, gradient.cpu().numpy() / n_rows, hessian.cpu().numpy() / n_rows


def _split(blocks: Iterable[Block]) -> Iterator[Block]:
    """Split blocks into smaller blocks of at most NEWTON_BLOCK_ROWS rows."""
    for features, species in blocks:
        yield from zip(features.split(NEWTON_BLOCK_ROWS), species.split(NEWTON_BLOCK_ROWS), strict=True)
