"""PyTorch: an nn.Module and a training loop, on the CPU or on a GPU."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from adapters.base import HIDDEN, Adapter, Resources
from adapters.errors import NoSpecies, Unavailable
from adapters.minibatch import schedule
from datasets import store

PREDICT_ROWS = 1 << 17
"""Rows that are fed forward at a time: enough to keep the cores busy, few enough to keep memory flat."""


class Table(NamedTuple):
    features: Tensor
    species: Tensor | None


class Net(nn.Module):
    """Four measurements in cm to three logits. The scaling is part of the network, and so is saved with it."""

    mean: Tensor
    scale: Tensor

    def __init__(self, model: str) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("scale", torch.ones(4))
        widths = (4, *HIDDEN.get(model, ()))
        hidden = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(widths[-1], 3))
        self.model = model
        self.recipe: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.layers((x - self.mean) / self.scale)


class PyTorch(Adapter):
    """`default`: a DataLoader over a TensorDataset, as the quickstart does. `tuned`: slices of a shuffled tensor."""

    def start(self, resources: Resources) -> None:
        if resources.device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(f"torch {torch.__version__} finds no CUDA device that it can use")
        torch.set_num_threads(resources.threads)
        self.device = torch.device(resources.device)
        self._threads = resources.threads
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
        features, species = store.read(path)
        table = Table(
            torch.from_numpy(features).to(self.device),
            None if species is None else torch.from_numpy(species).to(self.device),
        )
        self._synchronize()
        return table

    def train(self, table: Table, model: str, seed: int) -> Net:
        if table.species is None:
            raise NoSpecies
        torch.manual_seed(seed)
        net = Net(model).to(self.device)
        net.mean = table.features.mean(dim=0, dtype=torch.float64).float()
        net.scale = (table.features - net.mean).square().mean(dim=0, dtype=torch.float64).sqrt().float()
        net.scale[net.scale == 0] = 1.0  # a measurement that is the same for all
        if self.track == "default":
            self._train_by_loader(net, table.features, table.species)
        elif model == "logistic":
            self._train_full_batch(net, table.features, table.species)
        else:
            self._train_by_slices(net, table.features, table.species)
        self._synchronize()
        return net.eval()

    def _train_by_loader(self, net: Net, features: Tensor, species: Tensor) -> None:
        loader = DataLoader(TensorDataset(features, species.long()), batch_size=64, shuffle=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
        loss_function = nn.CrossEntropyLoss()
        for _ in range(5):
            for x, y in loader:
                loss = loss_function(net(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        net.recipe = {"solver": "SGD", "batch": 64, "epochs": 5, "learning_rate": 1e-3, "data": "DataLoader"}

    def _train_full_batch(self, net: Net, features: Tensor, species: Tensor) -> None:
        # Scaled once here, and not anew in each of the closure's evaluations.
        x, y = (features - net.mean) / net.scale, species.long()
        optimizer = torch.optim.LBFGS(
            net.parameters(), max_iter=100, tolerance_grad=1e-4, tolerance_change=1e-6, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net.layers(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
        iterations = optimizer.state[optimizer.param_groups[0]["params"][0]]["n_iter"]
        net.recipe = {"solver": "L-BFGS", "iterations": iterations, "tolerance": 1e-4, "regularisation": 0.0}

    def _train_by_slices(self, net: Net, features: Tensor, species: Tensor) -> None:
        plan = schedule(len(features))
        peak = 0.1 if net.model == "mlp" else 0.003
        optimizer = torch.optim.Adam(net.parameters(), lr=peak, fused=True)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=plan.steps)
        for _ in range(plan.epochs):
            order = torch.randperm(len(features), device=self.device)
            x, y = features[order], species[order].long()
            for start in range(0, plan.steps_per_epoch * plan.batch, plan.batch):
                loss = F.cross_entropy(net(x[start : start + plan.batch]), y[start : start + plan.batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
        net.recipe = {
            "solver": "Adam, fused",
            "hidden": list(HIDDEN[net.model]),
            "batch": plan.batch,
            "epochs": plan.epochs,
            "learning_rate": f"one cycle up to {peak}",
        }

    @torch.inference_mode()
    def predict(self, model: Net, table: Table) -> NDArray[np.int8]:
        codes = [model(x).argmax(dim=1).to(torch.int8) for x in table.features.split(PREDICT_ROWS)]
        return torch.cat(codes).cpu().numpy()

    @torch.inference_mode()
    def predict_proba(self, model: Net, table: Table) -> NDArray[np.float32]:
        return torch.cat([model(x).softmax(dim=1) for x in table.features.split(PREDICT_ROWS)]).cpu().numpy()

    @torch.inference_mode()
    def predict_one(self, model: Net, flower: NDArray[np.float32]) -> int:
        return int(model(torch.from_numpy(flower).to(self.device)).argmax())

    def save(self, model: Net, folder: Path) -> None:
        torch.save({"model": model.model, "recipe": model.recipe, "weights": model.state_dict()}, folder / "model.pt")

    def restore(self, folder: Path) -> Net:
        saved = torch.load(folder / "model.pt", map_location=self.device, weights_only=True)
        net = Net(saved["model"]).to(self.device)
        net.load_state_dict(saved["weights"])
        net.recipe = saved["recipe"]
        return net.eval()

    def describe(self, model: Net) -> dict[str, Any]:
        return model.recipe | {"threads": self._threads, "device": str(self.device)}
