"""What tells a student of exercise 1 what is not right yet: in words, without the answer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets.flowers import FEATURES, SPECIES

FLOWERS = Path(__file__).parent / "exercise1" / "flowers.csv"
SAVED = Path(__file__).parent / "example1" / "net.pt"
UNITS = 16
"""Of the hidden layer, in example 1 and exercise 1."""
CLOSE = 1e-4


class NotYet(AssertionError):
    """A hint. A notebook shows the hint alone, without the way through the code that led to it."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


def there(saved: Path) -> None:
    """Whether example 1 has left its network, as exercise 1 writes it down."""
    if not saved.exists():
        raise NotYet(f"{saved} is not there. Run example1/example1.ipynb to its end: its last cell writes it.")
    units = len(torch.load(saved, weights_only=True)["hidden.bias"])
    if units != UNITS:
        raise NotYet(
            f"the network in {saved} has {units} hidden units: set {UNITS} in example 1, and run all of it again."
        )


def features(given: Any) -> None:
    """Gap 1: the flowers of the file as a tensor of float32, shape (30, 4), columns in the order of the training."""
    truth = _truth()
    rows = len(truth)
    if given is ...:
        raise NotYet("features is still `...`: put in its place what reads flowers.csv.")
    if not isinstance(given, torch.Tensor):
        raise NotYet(
            f"features is a {type(given).__name__}; a network wants a tensor. torch.tensor makes one of an array."
        )
    shape = tuple(given.shape)
    if shape == (4, rows):
        raise NotYet(f"features has the shape {shape}: a flower is a column. Turn it round, so that it is a row.")
    if given.ndim != 2 or shape[1] != 4:
        raise NotYet(
            f"features has the shape {shape} and should have ({rows}, 4). Which columns of the file are measurements?"
        )
    if shape[0] != rows:
        raise NotYet(f"features has {shape[0]} rows, and the file holds {rows} flowers. Is the first line a flower?")
    if given.dtype != torch.float32:
        raise NotYet(
            f"features is of {given.dtype}, and the weights are of torch.float32. They have to be of one dtype."
        )
    values = given.detach().cpu().numpy()
    if np.allclose(values, truth, atol=CLOSE):
        print(f"Right: {rows} flowers of 4 measurements each.")
        return
    if np.allclose(np.sort(values, axis=1), np.sort(truth, axis=1), atol=CLOSE):
        raise NotYet(
            f"the numbers are right, and their columns stand in another order than in training: {', '.join(FEATURES)}."
        )
    if np.allclose(np.sort(values, axis=0), np.sort(truth, axis=0), atol=CLOSE):
        raise NotYet("the numbers are right, and the flowers stand in another order than in the file.")
    if np.abs(np.corrcoef(values[:, 0], truth[:, 0])[0, 1]) > 1 - CLOSE and values.max() < truth.max() / 2:
        raise NotYet("these features are scaled already. The network scales them itself, and wants them in cm.")
    if np.allclose(values, truth * 10, atol=CLOSE * 10):
        raise NotYet("these features are in mm, and the network was trained on cm.")
    raise NotYet("features has the right shape, and other numbers than the file. Which column came from where?")


def logits(given: Any, net: nn.Module) -> None:
    """Gap 2: what the trained network says of the flowers, shape (30, 3), without gradients."""
    truth = _says(net)
    rows = len(truth)
    if given is ...:
        raise NotYet("logits is still `...`: put in its place what the network says of the features.")
    if not isinstance(given, torch.Tensor):
        raise NotYet(f"logits is a {type(given).__name__}; a network that is called with a tensor gives a tensor.")
    shape = tuple(given.shape)
    if not given.is_floating_point():
        raise NotYet("these are classes already. The gap wants the numbers from which they follow; parse them later.")
    if shape == (rows,):
        raise NotYet("there is one number for each flower, such as the largest logit. The gap wants all three.")
    if shape == (3, rows):
        raise NotYet(f"logits has the shape {shape}: turn it round, so that each flower is a row.")
    if shape in ((3,), (1, 3)):
        raise NotYet("these are the logits of one flower. Hand all of them to the network at once.")
    if shape != (rows, 3):
        raise NotYet(f"logits has the shape {shape} and should have ({rows}, 3): three numbers for each flower.")
    if given.requires_grad:
        raise NotYet(
            "gradient tracking is left on: each of these numbers keeps all that it was made from. Inference needs none "
            "of that; see torch.inference_mode or torch.no_grad."
        )
    given = given.detach().cpu().float()
    if torch.allclose(given, truth, atol=CLOSE):
        print(f"Right: 3 logits for each of {rows} flowers, and no gradients.")
        return
    if torch.allclose(given, truth.softmax(dim=1), atol=CLOSE):
        raise NotYet("these are probabilities: softmax has been applied. The gap wants what the network itself gives.")
    if torch.allclose(given, truth.log_softmax(dim=1), atol=CLOSE):
        raise NotYet("these are logarithms of probabilities. The gap wants what the network itself gives.")
    if torch.allclose(given.sum(dim=0), torch.ones(3), atol=CLOSE):
        raise NotYet("softmax has been applied, and over the flowers instead of the species. The gap wants neither.")
    raise NotYet(
        "the shape is right, and the trained network says something else. Did you feed all of `features`, as they are, "
        "to `net`, and are its weights those from the file?"
    )


def names(given: Any, net: nn.Module) -> None:
    """Gap 3: the species of each flower as text."""
    truth = [SPECIES[code] for code in _says(net).argmax(dim=1).tolist()]
    if given is ...:
        raise NotYet("names is still `...`: put in its place the species of each flower.")
    if isinstance(given, torch.Tensor | np.ndarray) and given.ndim == 0:
        raise NotYet("there is one number for all flowers: the largest was looked for in all rows at once. See dim.")
    if isinstance(given, torch.Tensor | np.ndarray) and given.dtype not in (object,) and not _is_text(given):
        what = "numbers with a fraction, such as logits" if _has_fractions(given) else "the codes of the species"
        raise NotYet(f"these are {what}. People want to read names: setosa, versicolor, virginica.")
    given = given.tolist() if hasattr(given, "tolist") else given  # a column of pandas, an array of text
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise NotYet(f"names is a {type(given).__name__}; it should be a list with a name for each flower.")
    found = list(given)
    if found and all(isinstance(one, int | float | torch.Tensor | np.number) for one in found):
        raise NotYet("these are numbers. People want to read names: setosa, versicolor, virginica.")
    if len(found) == 3 and len(truth) != 3:
        raise NotYet(
            "there are three names, one for each species: the largest was looked for among the flowers. See dim."
        )
    if len(found) != len(truth):
        raise NotYet(f"there are {len(found)} names and {len(truth)} flowers.")
    if found == truth:
        print("Right: " + ", ".join(f"{truth.count(name)} {name}" for name in SPECIES) + ".")
        return
    if strange := sorted({str(one) for one in found} - set(SPECIES)):
        raise NotYet(
            f"{strange[0]!r} is no species that the network was taught: {', '.join(SPECIES)}, in small letters."
        )
    renamed = {(theirs, ours) for theirs, ours in zip(found, truth, strict=True)}
    if len(renamed) == len(set(truth)) == len(set(found)):
        raise NotYet(
            "the labels are shifted or swapped: each species has the name of another. 0 is setosa, 1 versicolor."
        )
    if len(set(found)) == 1:
        raise NotYet(f"every flower is called {found[0]}. Is the largest logit looked for in each row?")
    wrong = next(number for number, (one, other) in enumerate(zip(found, truth, strict=True)) if one != other)
    raise NotYet(f"flower {wrong + 1} is called {found[wrong]}, and its largest logit is another's.")


def _says(net: nn.Module) -> torch.Tensor:
    """The logits of the trained network: of the file, so that an untrained `net` is noticed, if it is there."""
    with torch.inference_mode():
        if SAVED.exists() and net.state_dict().keys() == (saved := torch.load(SAVED, weights_only=True)).keys():
            return torch.func.functional_call(net, saved, torch.from_numpy(_truth()))
        return net(torch.from_numpy(_truth()))


def _truth() -> np.ndarray:
    """The measurements of the file, shape (n, 4), in the order of the training."""
    with FLOWERS.open(newline="") as file:
        return np.array([[row[name] for name in FEATURES] for row in csv.DictReader(file)], dtype=np.float32)


def _is_text(given: Any) -> bool:
    return isinstance(given, np.ndarray) and given.dtype.kind in "US"


def _has_fractions(given: Any) -> bool:
    return bool(given.is_floating_point() if isinstance(given, torch.Tensor) else given.dtype.kind == "f")
