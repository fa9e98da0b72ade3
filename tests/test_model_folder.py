"""Damaged model folders are rejected before a framework reads them, and so are forged models with valid checksums."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from adapters import model_folder, registry
from adapters.base import Adapter, Resources
from datasets import store
from datasets.flowers import real_flowers
from errors import BadInput
from tests import model_folders
from tests.conftest import ROOT, Command, missing, one_line

IRIS = ROOT / "datasets" / "iris.csv"
CHEAP = ("baseline", "scikit-learn", "pytorch-cpu")
MUTATIONS = 120
"""Number of mutations for each framework."""


class Engines:
    """Started adapters, and a model folder for each framework, model and track. Each is made once."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._made: dict[tuple[str, ...], Any] = {}

    def adapter(self, framework: str, track: str = "tuned") -> Adapter:
        if reason := missing(framework):
            pytest.skip(reason)
        if (framework, track) not in self._made:
            adapter = self._stack.enter_context(registry.FRAMEWORKS[framework].create(track))
            folder = self._folder / f"{framework}-{track}"
            folder.mkdir()
            adapter.start(Resources(1, 2**30, folder))
            self._made[framework, track] = adapter
        return self._made[framework, track]

    def copy(self, framework: str, model: str, folder: Path, track: str = "tuned") -> Path:
        """Copy a trained model folder to `folder`."""
        adapter = self.adapter(framework, track)
        if (framework, model, track) not in self._made:
            new = self._folder / "-".join((framework, model, track))
            new.mkdir()
            self._made[framework, model, track] = model_folders.make(adapter, framework, model, new)
        return Path(shutil.copytree(self._made[framework, model, track], folder))

    def predict(self, folder: Path, scratch: Path) -> np.ndarray:
        """Verify and restore a model, and predict the 150 flowers, as the command does."""
        card, contents = model_folder.read_verified(folder)
        adapter = self.adapter(card.framework, card.track)
        model = model_folder.restore(adapter, folder, card, contents, scratch / "private")
        store.write(scratch / "flowers.parquet", real_flowers()[0], None)
        return adapter.predict_proba(model, adapter.load(scratch / "flowers.parquet"))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with ExitStack() as stack:
        yield Engines(stack, tmp_path_factory.mktemp("engines"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def rename_in_card(folder: Path, name: str) -> None:
    files = json.loads((folder / "model.json").read_text())["files"]
    model_folders.change_card(folder, files=dict.fromkeys([*files, name], files["shares.json"]))


def link(folder: Path) -> None:
    (folder / "model" / "shares.json").rename(folder / "elsewhere")
    (folder / "model" / "shares.json").symlink_to(folder / "elsewhere")
    (folder / "elsewhere").rename(folder.parent / "elsewhere")


def replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip(folder / "model" / "shares.json"), "shares.json is damaged: its SHA-256"),
        (lambda folder: (folder / "model" / "shares.json").unlink(), "shares.json is listed in model.json but missing"),
        (lambda folder: (folder / "model" / "extra").touch(), "extra is not listed in model.json"),
        (lambda folder: (folder / "extra").touch(), "extra is not part of the model"),
        (link, "is a link, a FIFO or a device"),
        (lambda folder: replace_by_fifo(folder / "model" / "shares.json"), "is a link, a FIFO or a device"),
        (lambda folder: replace_by_fifo(folder / "model.json"), "is not a regular file"),
        (lambda folder: (folder / "model.json").write_text("[" * 10_000 + "]" * 10_000), "model.json is damaged"),
        (lambda folder: rename_in_card(folder, "../shares.json"), "'../shares.json', which is not a relative path"),
        (lambda folder: rename_in_card(folder, "/etc/passwd"), "'/etc/passwd', which is not a relative path"),
        (lambda folder: rename_in_card(folder, "a\\b"), r"'a\\\\b', which is not a relative path"),
        (lambda folder: rename_in_card(folder, "a//b"), "'a//b', which is not a relative path"),
        (lambda folder: rename_in_card(folder, "SHARES.json"), "whose names clash"),
        (lambda folder: model_folders.change_card(folder, framework="abacus"), "there is no framework 'abacus'"),
        (lambda folder: model_folders.change_card(folder, model="../x"), "there is no model '../x'"),
        (lambda folder: model_folders.change_card(folder, track="fast"), "there is no track 'fast'"),
        (lambda folder: model_folders.change_card(folder, format=1), "train the model again"),
        (lambda folder: shutil.rmtree(folder / "model"), "shares.json is listed in model.json but missing"),
    ],
)
def test_a_damaged_folder_is_rejected_before_it_is_restored(
    engines: Engines, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    folder = engines.copy("baseline", "mlp", tmp_path / "m")
    damage(folder)
    with pytest.raises(BadInput, match=said):
        model_folder.read_verified(folder)


def test_a_file_that_changes_after_the_check_is_not_read(engines: Engines, tmp_path: Path) -> None:
    folder = engines.copy("baseline", "mlp", tmp_path / "m")
    card, contents = model_folder.read_verified(folder)
    (folder / "model" / "shares.json").write_text("[1, 0, 0]")
    restored = model_folder.restore(engines.adapter("baseline"), folder, card, contents, tmp_path / "private")
    assert restored.tolist() == pytest.approx([1 / 3] * 3)


def set_shares(text: str) -> Callable[[Path], object]:
    return lambda files: (files / "shares.json").write_text(text)


def change_skops(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def forge(files: Path) -> None:
        import skops.io

        path = files / "model.skops"
        model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
        skops.io.dump(change(model) or model, path)

    return forge


def without(name: str) -> Callable[[Any], None]:
    return lambda model: delattr(model, name)


def fitted_otherwise(features: int, classes: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(90, features))
    return LogisticRegression().fit(x, np.resize(np.array(classes), 90))


def change_torch(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def forge(files: Path) -> None:
        import torch

        saved = torch.load(files / "model.pt", weights_only=True)
        change(saved)
        torch.save(saved, files / "model.pt")

    return forge


def set_first_weight(saved: dict[str, Any], value: float) -> None:
    saved["weights"]["0.weight"][0, 0] = value


def resized(saved: dict[str, Any], features: int, classes: int) -> None:
    import torch

    saved["weights"] |= {"0.weight": torch.zeros(classes, features), "0.bias": torch.zeros(classes)}


@pytest.mark.parametrize(
    ("framework", "model", "forge", "said"),
    [
        ("baseline", "mlp", set_shares("[NaN, 0, 1]"), "damaged"),
        ("baseline", "mlp", set_shares("[1e999, 0, 1]"), "damaged|sum to 1"),
        ("baseline", "mlp", set_shares("[0.5, 0.5]"), "sum to 1"),
        ("baseline", "mlp", set_shares("[2, -1, 0]"), "sum to 1"),
        ("baseline", "mlp", set_shares("{}"), "damaged"),
        ("scikit-learn", "logistic", change_skops(lambda m: m.coef_.fill(np.nan)), "not all finite"),
        ("scikit-learn", "mlp", change_skops(lambda m: m.coefs_[1].fill(np.inf)), "not all finite"),
        ("scikit-learn", "logistic", change_skops(without("coef_")), "not fitted"),
        ("scikit-learn", "mlp", change_skops(without("coefs_")), "not fitted"),
        ("scikit-learn", "logistic", change_skops(lambda m: fitted_otherwise(5, [0, 1, 2])), "5 features"),
        ("scikit-learn", "logistic", change_skops(lambda m: fitted_otherwise(4, [0, 1])), "the classes"),
        ("scikit-learn", "logistic", change_skops(lambda m: fitted_otherwise(4, ["a", "b", "c"])), "the classes"),
        ("scikit-learn", "mlp", change_skops(lambda m: setattr(m, "predict_proba", [1])), "redefines predict_proba"),
        ("scikit-learn", "mlp", change_skops(lambda m: setattr(m, "activation", "tanh")), "its activations"),
        ("pytorch-cpu", "logistic", change_torch(lambda s: set_first_weight(s, np.nan)), "not all finite"),
        ("pytorch-cpu", "logistic", change_torch(lambda s: resized(s, 5, 3)), "size mismatch|loading state_dict"),
        ("pytorch-cpu", "logistic", change_torch(lambda s: resized(s, 4, 4)), "size mismatch|loading state_dict"),
        ("pytorch-cpu", "logistic", change_torch(lambda s: s.update(recipe=[1])), "its model or its recipe"),
        ("pytorch-cpu", "logistic", change_torch(lambda s: s.update(model=["mlp"])), "its model or its recipe"),
    ],
)
def test_a_forged_model_with_valid_checksums_is_rejected(
    engines: Engines, tmp_path: Path, framework: str, model: str, forge: Callable[[Path], object], said: str
) -> None:
    folder = engines.copy(framework, model, tmp_path / "m")
    forge(folder / "model")
    model_folders.sign(folder)
    with pytest.raises(BadInput, match=said):
        engines.predict(folder, tmp_path)


@pytest.mark.parametrize("framework", ["scikit-learn", "pytorch-cpu", "tensorflow-cpu"])
@pytest.mark.parametrize("track", ["default", "tuned"])
def test_a_model_that_is_not_on_the_card_is_rejected(
    engines: Engines, tmp_path: Path, framework: str, track: str
) -> None:
    folder = engines.copy(framework, "mlp", tmp_path / "m", track)
    assert engines.predict(folder, tmp_path).shape == (150, 3)
    model_folders.change_card(folder, model="deep")
    (tmp_path / "again").mkdir()
    with pytest.raises(BadInput, match="says deep, but the files contain mlp"):
        engines.predict(folder, tmp_path / "again")


def rewrite_keras(files: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = files / "model.keras"
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    change(config)
    with ZipFile(path, "w") as archive:
        for name, content in (contents | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)


def other_first_layer(files: Path) -> None:
    import keras

    layers = [keras.Input((4,)), keras.layers.Rescaling(3.0), keras.layers.Dense(3)]
    keras.Sequential(layers).save(files / "model.keras")


def nan_weights(files: Path) -> None:
    import keras

    network = keras.models.load_model(files / "model.keras", compile=False)
    network.layers[-1].bias.assign([np.nan, 0.0, 0.0])
    network.save(files / "model.keras")


def tanh(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["activation"] = "tanh"


def duplicate(files: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), ZipFile(files / "model.keras", "a") as archive:
        archive.writestr("config.json", b"{}")


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (other_first_layer, "other layers"),
        (nan_weights, "not all finite"),
        (lambda files: rewrite_keras(files, tanh), "other layers"),
        (lambda files: rewrite_keras(files, lambda config: config.update(config=[])), "not described"),
        (duplicate, "two files of the same name"),
        (lambda files: (files / "recipe.json").write_text("[1]"), "recipe.json is damaged"),
    ],
)
def test_a_forged_keras_file_with_valid_checksums_is_rejected(
    engines: Engines, tmp_path: Path, forge: Callable[[Path], object], said: str
) -> None:
    folder = engines.copy("tensorflow-cpu", "logistic", tmp_path / "m")
    forge(folder / "model")
    model_folders.sign(folder)
    with pytest.raises(BadInput, match=said):
        engines.predict(folder, tmp_path)


@pytest.mark.parametrize("framework", CHEAP)
def test_a_mutated_folder_is_rejected_or_predicts(engines: Engines, tmp_path: Path, framework: str) -> None:
    chance = random.Random(12)
    rejected = 0
    for number in range(MUTATIONS):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        folder = engines.copy(framework, "logistic", scratch / "m")
        model_folders.mutate(folder, chance)
        try:
            probabilities = engines.predict(folder, scratch)
        except BadInput as problem:
            rejected += 1
            assert "\n" not in str(problem)
        else:
            assert np.isfinite(probabilities).all()
        shutil.rmtree(scratch)
    assert MUTATIONS // 3 < rejected < MUTATIONS


def test_predict_rejects_a_damaged_model_in_one_line(engines: Engines, command: Command, tmp_path: Path) -> None:
    folder = engines.copy("scikit-learn", "mlp", tmp_path / "m")
    flip(folder / "model" / "model.skops")
    words = ["adapters", "predict", "--model", folder, "--data", IRIS, "--output", tmp_path / "out.csv"]
    assert "is damaged: its SHA-256" in one_line(command(*words))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("other", ["notes.txt", "model/notes.txt"])
def test_train_deletes_no_file_that_it_did_not_write(
    engines: Engines, command: Command, tmp_path: Path, other: str
) -> None:
    folder = engines.copy("baseline", "mlp", tmp_path / "app")
    (folder / other).write_text("notes")
    words = ["--framework", "baseline", "--model", "mlp", "--data", IRIS, "--output", folder]
    assert "notes.txt is not" in one_line(command("adapters", "train", *words))
    assert (folder / other).read_text() == "notes"
    (folder / other).unlink()
    assert command("adapters", "train", *words).returncode == 0
    (folder / "model.json").write_text("{}")
    assert "is in use" in one_line(command("adapters", "train", *words))
    assert [path.name for path in tmp_path.iterdir()] == ["app"]
