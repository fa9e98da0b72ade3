"""Tests of the contract that every adapter must fulfil. A class that names its framework inherits them.

class TestMine(AdapterContract):
    framework = "mine"

python -m pytest tests/contract.py --adapter FILE.py    test a plug-in: an adapter file, or the name of an installed
                                                        framework
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from adapters import registry
from adapters.base import Adapter, Resources
from adapters.plugins import Contract
from datasets import scores, store, streaming, synthetic
from datasets.flowers import FEATURES, real_flowers
from datasets.synthetic import Stream
from errors import BadInput
from tests.conftest import missing

GIB = 1 << 30


def start(framework: str, folder: Path) -> Adapter:
    """Return the started adapter of a framework, with one thread."""
    if reason := missing(framework):
        pytest.skip(reason)
    adapter = registry.FRAMEWORKS[framework].create()
    adapter.start(Resources(1, 4 * GIB, folder, registry.FRAMEWORKS[framework].device))
    return adapter


class AdapterContract:
    """The tests of one framework. `contract` contains the differences between frameworks."""

    framework: ClassVar[str]
    contract: ClassVar[Contract] = Contract()

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapter]:
        with start(cls.framework, tmp_path_factory.mktemp("engine")) as adapter:
            yield adapter

    @pytest.fixture(scope="class")
    @classmethod
    def table(cls, engine: Adapter, flowers_10_000: Path) -> Any:
        return engine.load(flowers_10_000)

    @pytest.fixture(scope="class")
    @classmethod
    def unseen(cls, engine: Adapter, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return a table of test flowers without species, their features, and their class labels."""
        features, species = synthetic.chunk(1, Stream.TEST, 0)
        file = tmp_path_factory.mktemp("test") / "unseen.parquet"
        store.write(file, features[:20_000], None)
        return engine.load(file), features[:20_000], species[:20_000]

    @pytest.fixture(scope="class", params=["logistic", "mlp"])
    @classmethod
    def model_name(cls, request: pytest.FixtureRequest, engine: Adapter) -> str:
        if request.param not in cls.contract.models:
            pytest.skip(f"{engine.unsupported(request.param)}")
        assert engine.unsupported(request.param) is None
        return request.param

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, engine: Adapter, table: Any, model_name: str) -> Any:
        return engine.train(table, engine.recipe(model_name, 10_000), seed=3)

    def test_predict_returns_a_class_label_per_row(self, engine: Adapter, model: Any, unseen) -> None:
        labels = engine.predict(model, unseen[0])
        assert (labels.shape, labels.dtype) == ((20_000,), np.int8)
        assert set(np.unique(labels)) <= {0, 1, 2}

    def test_probabilities_sum_to_one_and_the_largest_is_the_prediction(self, engine, model, unseen) -> None:
        probabilities = engine.predict_proba(model, unseen[0])
        assert (probabilities.shape, probabilities.dtype) == ((20_000, 3), np.float32)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
        labels = engine.predict(model, unseen[0])
        chosen = probabilities[np.arange(20_000), labels]
        np.testing.assert_allclose(chosen, probabilities.max(axis=1), atol=1e-5)

    def test_the_model_is_good_enough_on_unseen_flowers(self, engine, model, model_name, unseen) -> None:
        assert scores.accuracy(unseen[2], engine.predict(model, unseen[0])) >= self.contract.floor[model_name]

    def test_predictions_have_the_order_of_the_files(self, engine, model, table) -> None:
        species = synthetic.chunk(1, Stream.TRAIN, 0)[1]
        assert scores.accuracy(species[:10_000], engine.predict(model, table)) >= min(self.contract.floor.values())

    def test_training_reads_a_table_that_does_not_fit_in_memory_from_the_disk(
        self, engine, model_name, flowers_10_000: Path, unseen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if model_name not in self.contract.streams:
            pytest.skip("this framework trains on tables in memory only")
        monkeypatch.setattr(streaming, "IN_MEMORY", 1e9)
        table = engine.load(flowers_10_000)
        model = engine.train(table, engine.recipe(model_name, 10_000), seed=3)
        assert engine.describe(model)["streamed"] is True
        assert scores.accuracy(unseen[2], engine.predict(model, unseen[0])) >= self.contract.floor[model_name]
        species = synthetic.chunk(1, Stream.TRAIN, 0)[1]
        assert scores.accuracy(species[:10_000], engine.predict(model, table)) >= self.contract.floor[model_name]

    def test_one_flower_is_predicted_as_in_a_batch(self, engine, model, unseen) -> None:
        labels = engine.predict(model, unseen[0])[:5]
        assert [engine.predict_one(model, flower) for flower in unseen[1][:5].copy()] == labels.tolist()

    def test_training_leaves_its_table_and_the_flower_unchanged(self, engine, model, model_name, table) -> None:
        before = engine.predict_proba(model, table)
        engine.train(table, engine.recipe(model_name, 10_000), seed=4)
        np.testing.assert_array_equal(engine.predict_proba(model, table), before)
        flower = real_flowers()[0][0].copy()
        engine.predict_one(model, flower)
        np.testing.assert_array_equal(flower, real_flowers()[0][0])

    def test_the_same_seed_gives_the_same_model(self, engine, model, model_name, table, unseen) -> None:
        again = engine.predict_proba(engine.train(table, engine.recipe(model_name, 10_000), seed=3), unseen[0])
        if model_name in self.contract.not_reproducible:
            assert scores.accuracy(unseen[2], again.argmax(axis=1)) >= self.contract.floor[model_name]
        else:
            np.testing.assert_allclose(again, engine.predict_proba(model, unseen[0]), atol=1e-6)

    def test_a_restored_model_predicts_the_same(self, engine, model, unseen, tmp_path: Path) -> None:
        engine.save(model, tmp_path)
        restored = engine.restore(tmp_path)
        np.testing.assert_allclose(
            engine.predict_proba(restored, unseen[0]), engine.predict_proba(model, unseen[0]), atol=1e-6
        )
        np.testing.assert_array_equal(engine.predict(restored, unseen[0]), engine.predict(model, unseen[0]))
        assert engine.predict_one(restored, unseen[1][0]) == engine.predict_one(model, unseen[1][0])

    def test_a_damaged_file_is_rejected(self, engine, model, tmp_path: Path) -> None:
        engine.save(model, tmp_path)
        for file in tmp_path.rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(Exception, match=r".+"):
            engine.restore(tmp_path)

    def test_describe_reports_the_settings_of_the_recipe(self, engine, model, model_name) -> None:
        described = json.loads(json.dumps(engine.describe(model)))
        recipe = engine.recipe(model_name, 10_000)
        shared = {name: value for name, value in recipe.settings().items() if name not in recipe.options}
        assert {name: described.get(name) for name in shared} == shared

    def test_the_build_is_json_and_names_the_blas(self, engine) -> None:
        build = json.loads(json.dumps(engine.build()))
        assert build
        assert bool(build.get("blas")) == self.contract.has_blas

    def test_training_rejects_a_table_without_species(self, engine, unseen) -> None:
        with pytest.raises(BadInput, match="no column species"):
            engine.train(unseen[0], engine.recipe("logistic", 20_000), seed=0)

    def test_load_rejects_a_wrong_table_and_names_the_column(self, engine, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        parquet.write_table(pa.table({name: [1.0] for name in FEATURES[:3]}), tmp_path / "narrow.parquet")
        with pytest.raises(BadInput, match=r"narrow\.parquet has no column petal_width"):
            engine.load(tmp_path / "narrow.parquet")
        parquet.write_table(pa.table({name: ["wide"] for name in FEATURES}), tmp_path / "text.parquet")
        with pytest.raises(BadInput, match=r"text\.parquet, column sepal_length is string"):
            engine.load(tmp_path / "text.parquet")
        (tmp_path / "noise.parquet").write_bytes(b"these are no flowers")
        with pytest.raises(BadInput, match="cannot be read as Parquet"):
            engine.load(tmp_path / "noise.parquet")

    def test_close_may_be_called_twice(self, engine) -> None:
        engine.close()
        engine.close()


for name, row in registry.FRAMEWORKS.items():
    if row.plugin:  # added by --adapter
        globals()[f"Test_{name}"] = type(
            f"Test_{name}", (AdapterContract,), {"framework": name, "contract": row.plugin.contract}
        )
