"""PyTorch: an nn.Module and a training loop, on the CPU or on a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from adapters import archives
from adapters.base import HIDDEN, MODELS, Adapter, Resources
from adapters.errors import ForeignModel, NoSpecies, Unavailable
from adapters.minibatch import candidates, schedule
from datasets import store
from datasets.streaming import BLOCK_ROWS, OnDisk, fill


@dataclass(frozen=True)
class InMemory:
    """All rows, on the device: features in cm, shape (n_rows, 4), and species codes, shape (n_rows,), or None."""

    features: Tensor
    species: Any

    def __len__(self) -> int:
        return len(self.features)

    @property
    def has_species(self) -> bool:
        return self.species is not None


SAMPLE_ROWS = 1 << 14
"""Rows that bring Newton's method near the optimum, before it goes through all."""

Table = InMemory | OnDisk
Block = tuple[Tensor, Any]  # features, and species or None


class Net(nn.Sequential):
    """Four measurements in cm to three logits."""

    def __init__(self, model: str) -> None:
        widths = (4, *HIDDEN.get(model, ()))
        hidden = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
        super().__init__(*hidden, nn.Linear(widths[-1], 3))
        self.model = model
        self.recipe: dict[str, Any] = {}

    @torch.no_grad()
    def take_cm(self, scaling: Scaling) -> None:
        """Has a network that was trained on scaled measurements take them in cm, by weights to the same effect."""
        first = self[0]
        assert isinstance(first, nn.Linear)
        first.weight /= scaling.scale
        first.bias.sub_(first.weight @ scaling.mean)


class Scaling:
    """Takes the columns of `x`, in cm, shape (n, 4), to mean 0 and deviation 1; one that never changes, to 0."""

    def __init__(self, x: Tensor) -> None:
        self.mean = x.mean(dim=0, dtype=torch.float64).float()
        self.scale = (x - self.mean).square().mean(dim=0, dtype=torch.float64).sqrt().float()
        self.scale[self.scale == 0] = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class PyTorch(Adapter):
    """`default`: a DataLoader over a TensorDataset, as the quickstart does. `tuned`: slices of a shuffled tensor."""

    serving = "the module in inference mode, on a tensor of four"

    def start(self, resources: Resources) -> None:
        if resources.device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(f"torch {torch.__version__} finds no CUDA device that it can use")
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
        if isinstance(table, OnDisk):
            return map(self._on_device, table.in_order())
        species = repeat(None) if table.species is None else table.species.split(BLOCK_ROWS)
        return zip(table.features.split(BLOCK_ROWS), species, strict=False)

    def _shuffled(self, table: Table, seed: int) -> Iterator[Block]:
        if isinstance(table, OnDisk):
            yield from map(self._on_device, table.shuffled(seed))
        else:
            for rows in torch.randperm(len(table), device=self.device).split(BLOCK_ROWS):
                yield table.features[rows], table.species[rows]

    def train(self, table: Table, model: str, seed: int) -> Net:
        if not table.has_species:
            raise NoSpecies
        torch.manual_seed(seed)
        net = Net(model).to(self.device)
        recipe = dict(self.instead or self.recipe(model, len(table)))
        if "data" in recipe:
            self._train_by_loader(net, table, **recipe)
        elif "batch" in recipe:
            self._train_by_batches(net, table, seed, **recipe)
        else:
            self._train_by_newton(net, table, **recipe)
        self._synchronize()
        net.recipe |= recipe | {"streamed": isinstance(table, OnDisk)}
        return net.eval()

    def recipe(self, model: str, rows: int, streamed: bool = False) -> dict[str, Any]:
        if self.track == "default":
            return {"data": "DataLoader over a TensorDataset", "batch": 64, "epochs": 5, "learning_rate": 1e-3}
        if model == "logistic":
            return {"tolerance": 1e-3}
        plan = schedule(model, rows, 256, 380) if model == "deep" else schedule(model, rows)
        return {"batch": plan.batch, "epochs": plan.epochs, "learning_rate": 0.2 if model == "mlp" else 0.003}

    def candidates(self, model: str, rows: int) -> list[dict[str, Any]]:
        rates = {"logistic": (0.03, 0.1), "mlp": (0.05, 0.1, 0.2), "deep": (0.001, 0.003)}[model]
        newton: list[dict[str, Any]] = [{"tolerance": t} for t in (1e-2, 1e-4, 1e-5)] if model == "logistic" else []
        return newton + [
            {"batch": batch, "epochs": epochs, "learning_rate": rate}
            for batch, epochs in candidates(rows)
            for rate in rates
        ]

    def _train_by_loader(
        self, net: Net, table: Table, data: str, batch: int, epochs: int, learning_rate: float
    ) -> None:
        assert isinstance(table, InMemory)
        scaling = Scaling(table.features)
        dataset = TensorDataset(scaling(table.features), table.species.long())
        optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
        loss_function = nn.CrossEntropyLoss()
        for _ in range(epochs):
            for x, y in DataLoader(dataset, batch_size=batch, shuffle=True):
                loss = loss_function(net(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        net.take_cm(scaling)
        net.recipe = {"solver": "SGD"}

    def _train_by_batches(
        self, net: Net, table: Table, seed: int, batch: int, epochs: int, learning_rate: float
    ) -> None:
        optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate, fused=True)
        steps = epochs * (len(table) // batch)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        scaling = None
        for epoch in range(epochs):
            for features, species in self._shuffled(table, seed + epoch):
                scaling = scaling or Scaling(features)  # of rows at random, and as good as that of all
                x, y = scaling(features), species.long()
                for start in range(0, len(x) - batch + 1, batch):
                    loss = F.cross_entropy(net(x[start : start + batch]), y[start : start + batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    rate.step()
        assert scaling
        net.take_cm(scaling)
        net.recipe = {"solver": "Adam, fused, cosine", "hidden": list(HIDDEN.get(net.model, ()))}

    @torch.inference_mode()
    def _train_by_newton(self, net: Net, table: Table, tolerance: float) -> None:
        """Newton's method for the multinomial likelihood (Hastie, Tibshirani, Friedman: The Elements of Statistical
        Learning, 4.4.1), with the first class's logit fixed at 0. Ends where another step would gain less than
        `tolerance` of the mean log-loss.
        """
        features, species = next(self._shuffled(table, seed=0))
        scaling = Scaling(features)
        sample = features[:SAMPLE_ROWS], species[:SAMPLE_ROWS]
        weights = torch.zeros(10, dtype=torch.float64, device=self.device)
        weights, iterations = _newton(lambda: [sample], scaling, weights, tolerance)
        if len(table) > SAMPLE_ROWS:
            weights, iterations = _newton(lambda: self._in_order(table), scaling, weights, tolerance)
        coefficients = F.pad(weights.view(5, 2), (1, 0)).float()
        net.load_state_dict({"0.weight": coefficients[:4].T, "0.bias": coefficients[4]})
        net.take_cm(scaling)
        net.recipe = {"solver": "Newton", "iterations": iterations, "regularisation": 0.0}

    @torch.inference_mode()
    def predict(self, model: Net, table: Table) -> NDArray[np.int8]:
        codes = (model(x).argmax(dim=1).to(torch.int8) for x, _ in self._in_order(table))
        return fill(np.empty(len(table), np.int8), (block.cpu().numpy() for block in codes))

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
            raise ForeignModel("no weights that a training here saved")
        if saved["model"] not in MODELS or not isinstance(saved["recipe"], dict):
            raise ForeignModel("a model or a recipe that no training here makes")
        net = Net(saved["model"]).to(self.device)
        net.load_state_dict(saved["weights"])
        if not all(weights.isfinite().all() for weights in net.parameters()):
            raise ForeignModel("its weights are not all finite numbers")
        net.recipe = saved["recipe"]
        return net.eval()

    def name_of(self, model: Net) -> str:
        return model.model

    def describe(self, model: Net) -> dict[str, Any]:
        return model.recipe | {"threads": self._threads, "device": str(self.device)}


def _newton(
    blocks: Callable[[], Iterable[Block]], scaling: Scaling, weights: Tensor, tolerance: float, most: int = 50
) -> tuple[Tensor, int]:
    """The weights, shape (10,), that maximise the likelihood of the blocks, and the number of passes over them."""
    best, loss_before = weights, torch.inf
    for iteration in range(1, most + 1):
        loss, gradient, hessian = _likelihood(blocks(), scaling, weights)
        if loss > loss_before:  # the step was too long
            weights = (weights + best) / 2
            continue
        best, loss_before = weights, loss
        # Where the classes can be told apart without error, the curvature vanishes.
        step = torch.linalg.solve(hessian + 1e-7 * torch.eye(10, dtype=torch.float64, device=hessian.device), gradient)
        weights = weights - step
        if gradient @ step / 2 < tolerance:
            return weights, iteration
    return best, most


def _likelihood(blocks: Iterable[Block], scaling: Scaling, weights: Tensor) -> tuple[float, Tensor, Tensor]:
    """Mean log-loss, its gradient, shape (10,), and its second derivatives, shape (10, 10).

    The sums are float64's: near the optimum the curvature is small, and float32 would leave its rounding.
    """
    gradient, hessian = (
        torch.zeros(shape, dtype=torch.float64, device=weights.device) for shape in ((5, 2), (5, 2, 5, 2))
    )
    same_class = hessian.diagonal(dim1=1, dim2=3)  # shape (5, 5, 2), a view
    loss, n_rows = 0.0, 0
    for features, species in blocks:
        x = F.pad(scaling(features), (0, 1), value=1.0)  # the fifth is the intercept's
        y = species.long()
        log_p = F.pad(x @ weights.view(5, 2).float(), (1, 0)).log_softmax(dim=1)
        x, p = x.double(), log_p[:, 1:].exp().double()
        px = (x[:, :, None] * p[:, None, :]).view(-1, 10)
        loss += F.nll_loss(log_p, y, reduction="sum").item()
        gradient += x.T @ (p - F.one_hot(y, 3)[:, 1:])
        hessian -= (px.T @ px).view(5, 2, 5, 2)
        same_class += (x.T @ px).view(5, 5, 2)
        n_rows += len(x)
    return loss / n_rows, gradient.view(10) / n_rows, hessian.view(10, 10) / n_rows
