"""Datasets contain the expected flowers, are the same in every process, and are complete or repaired."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from datasets import cache, files, scores, store, synthetic
from datasets.flowers import real_flowers
from datasets.maximum_likelihood import class_probabilities
from datasets.sizes import PART_ROWS
from datasets.synthetic import Stream
from errors import BadInput
from tests.conftest import ROOT, Command, one_line


def test_the_150_flowers_are_equal_to_those_of_scikit_learn() -> None:
    load_iris = pytest.importorskip("sklearn.datasets").load_iris
    features, species = real_flowers()
    np.testing.assert_array_equal(features, load_iris().data.astype(np.float32))
    np.testing.assert_array_equal(species, load_iris().target)


def test_a_chunk_does_not_depend_on_earlier_chunks() -> None:
    in_order = [synthetic.chunk(5, Stream.TRAIN, number) for number in range(3)]
    backwards = [synthetic.chunk(5, Stream.TRAIN, number) for number in (2, 1, 0)][::-1]
    for (x, y), (again_x, again_y) in zip(in_order, backwards, strict=True):
        assert x.tobytes() == again_x.tobytes()
        assert y.tobytes() == again_y.tobytes()


def test_a_chunk_is_the_same_in_another_process() -> None:
    script = (
        "import hashlib; from datasets.synthetic import Stream, chunk; x, y = chunk(5, Stream.TRAIN, 7); "
        "print(hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    import hashlib

    x, y = synthetic.chunk(5, Stream.TRAIN, 7)
    assert there.strip() == hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()


def test_chunks_streams_and_seeds_do_not_overlap() -> None:
    rows = [
        row.tobytes()
        for seed in (0, 1)
        for stream in Stream
        for number in (0, 1)
        for row in synthetic.chunk(seed, stream, number)[0]
    ]
    # Two random rows of four float32 are almost never equal.
    assert len(set(rows)) == len(rows)


def test_synthetic_flowers_have_the_moments_of_the_real_ones() -> None:
    features, species = synthetic.chunk(0, Stream.TRAIN, 0)
    real, real_species = real_flowers()
    for label in range(3):
        generated, measured = features[species == label], real[real_species == label]
        np.testing.assert_allclose(generated.mean(axis=0), measured.mean(axis=0), atol=0.02)
        np.testing.assert_allclose(np.cov(generated, rowvar=False), np.cov(measured, rowvar=False), atol=0.01)
        assert np.mean(species == label) == pytest.approx(1 / 3, abs=0.01)


def test_the_posterior_is_bayes_rule_by_scipys_densities() -> None:
    features = synthetic.chunk(0, Stream.TEST, 0)[0][:500]
    gaussians = synthetic.fitted()
    densities = np.column_stack(
        [multivariate_normal(m, f @ f.T).pdf(features) for m, f in zip(gaussians.means, gaussians.factors, strict=True)]
    )
    np.testing.assert_allclose(
        synthetic.posterior(features), densities / densities.sum(axis=1, keepdims=True), rtol=1e-6, atol=1e-12
    )


def test_bayes_accuracy_is_the_integral_of_the_largest_posterior() -> None:
    """Compare two estimates: the share of correct predictions, and the mean of the largest probability."""
    chunks = [synthetic.chunk(0, Stream.TEST, number) for number in range(8)]
    features, species = np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])
    posterior = synthetic.posterior(features)
    accuracy = scores.accuracy(species, posterior.argmax(axis=1))
    assert accuracy == pytest.approx(posterior.max(axis=1).mean(), abs=0.0006)
    assert accuracy == pytest.approx(0.9837, abs=0.0006)


def test_no_model_beats_the_bayes_log_loss() -> None:
    features, species = synthetic.chunk(0, Stream.TEST, 0)
    posterior = synthetic.posterior(features)
    tempered = posterior**0.9 / (posterior**0.9).sum(axis=1, keepdims=True)
    assert scores.log_loss(species, posterior) < scores.log_loss(species, tempered)


def test_the_maximum_likelihood_fit_is_that_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, species = synthetic.chunk(0, Stream.TRAIN, 0)
    test_features, test_species = synthetic.chunk(0, Stream.TEST, 0)
    ours = class_probabilities(features[:5000], species[:5000], test_features)
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-6, max_iter=5000).fit(
        features[:5000].astype(np.float64), species[:5000]
    )
    expected = theirs.predict_proba(test_features.astype(np.float64))
    # Between separable classes the optimum is at infinity: a few flowers there have other probabilities.
    assert np.mean(np.abs(ours - expected).max(axis=1) < 1e-3) > 0.999
    assert scores.log_loss(test_species, ours) == pytest.approx(scores.log_loss(test_species, expected), rel=2e-3)
    assert scores.accuracy(test_species, ours.argmax(axis=1)) > 0.975


def test_a_dataset_reads_back_as_it_was_made(tmp_path: Path) -> None:
    cache.make(tmp_path / "d", 70_000, seed=2)
    features, species = store.read(tmp_path / "d")
    chunks = [synthetic.chunk(2, Stream.TRAIN, number) for number in (0, 1)]
    np.testing.assert_array_equal(features, np.concatenate([x for x, _ in chunks])[:70_000])
    np.testing.assert_array_equal(species, np.concatenate([y for _, y in chunks])[:70_000])


def test_150_training_rows_are_the_real_flowers(tmp_path: Path) -> None:
    cache.make(tmp_path / "d", 150)
    np.testing.assert_array_equal(store.read(tmp_path / "d")[0], real_flowers()[0])


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_part_is_made_again_and_reported(tmp_path: Path, damage: str) -> None:
    rows = PART_ROWS + 1000
    cache.make(tmp_path / "d", rows)
    part = tmp_path / "d" / "part-00001.parquet"
    whole = part.read_bytes()
    flipped = bytes([*whole[:100], whole[100] ^ 1, *whole[101:]])
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(whole[:1000] if damage == "cut" else flipped)
    assert cache.check(tmp_path / "d") == ["part-00001.parquet is missing or damaged"]
    [said] = cache.make(tmp_path / "d", rows)
    assert "part-00001.parquet was missing or damaged" in said
    assert part.read_bytes() == whole


def test_a_damaged_manifest_is_made_again_and_reported(tmp_path: Path) -> None:
    cache.make(tmp_path / "d", 1000)
    (tmp_path / "d" / "_manifest.json").write_text('{"seed": 0, "str')
    [said] = cache.make(tmp_path / "d", 1000)
    assert "_manifest.json was damaged" in said
    assert cache.check(tmp_path / "d") == []


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    cache.make(tmp_path / "d", 1000)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for end in (gone.pid, "0a1b2c3d"):
        (tmp_path / "d" / f".part-00000.parquet.{end}").touch()
    cache.make(tmp_path / "d", 1000)
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == [".lock", "_manifest.json", "part-00000.parquet"]


def test_a_replaced_file_keeps_its_mode_and_no_prepared_link_is_followed(tmp_path: Path) -> None:
    victim, output = tmp_path / "victim", tmp_path / "out.csv"
    for mode in (0o600, 0o664, 0o444):
        output.write_text("old content")
        output.chmod(mode)
        victim.write_text("of another user")
        (tmp_path / f".out.csv.{os.getpid()}").symlink_to(victim)
        files.replace_file(output, lambda beside: beside.write_text("new content"))
        (tmp_path / f".out.csv.{os.getpid()}").unlink()
        assert stat.S_IMODE(output.stat().st_mode) == mode
        assert (output.read_text(), victim.read_text()) == ("new content", "of another user")
        output.unlink()
    files.replace_file(output, lambda beside: beside.write_text("new content"))
    (tmp_path / "plain").touch()
    assert output.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "plain", "victim"]


def test_an_interruption_leaves_no_incomplete_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_groups", fail)
    with pytest.raises(KeyboardInterrupt):
        cache.make(tmp_path / "d", 1000)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [".lock", "_manifest.json"]
    assert cache.Manifest.read(tmp_path / "d").parts == {}


def test_a_full_disk_is_detected_before_any_file_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=67_000_000_000))
    with pytest.raises(BadInput, match=r"100,000,000,000 rows need 1.7 TB in .*, but 67 GB are free; ask for fewer"):
        cache.make(tmp_path / "d", 100_000_000_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "1e15"], "'1e15' is too many rows; a dataset can store 104,857,600,000"),
        (["--rows", "1e18"], "'1e18' is too many rows; a dataset can store 104,857,600,000"),
        (["--rows", "150", "--threads", "9999"], "--threads 9,999 needs 9,999 cores, this process may use"),
    ],
)
def test_an_impossible_dataset_is_rejected_in_one_line(
    words: list[str], said: str, command: Command, tmp_path: Path
) -> None:
    assert said in one_line(command("datasets", "make", *words, "--output", tmp_path / "d"))
    assert list(tmp_path.iterdir()) == []


def test_two_datasets_are_not_made_into_one_folder(tmp_path: Path) -> None:
    """Processes with the same seed succeed, those with another seed are rejected, and the dataset is complete."""
    words = [sys.executable, "-m", "datasets", "make", "--rows", "3e6", "--output", str(tmp_path / "d"), "--seed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([*words, seed], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for seed in ("1", "1", "2", "2")
    ]
    said = {process: process.communicate()[1] for process in started}
    seed = cache.Manifest.read(tmp_path / "d").seed
    assert cache.check(tmp_path / "d") == []
    won, lost = (started[:2], started[2:]) if seed == 1 else (started[2:], started[:2])
    assert [process.returncode for process in (*won, *lost)] == [0, 0, 2, 2]
    for process in lost:
        assert said[process].count("\n") - said[process].count("waiting:") == 1
        assert f"holds another dataset (3,000,000 train rows, seed {seed}" in said[process]


@pytest.mark.parametrize(
    "manifest",
    [
        '{"seed": 0, "stream": "train", "rows": 1000, "parts": {"../part-00000.parquet": "0"}}',
        '{"seed": 0, "stream": "train", "rows": 1000, "parts": {"part-00001.parquet": "0"}}',
        '{"seed": 0, "stream": "train", "rows": 1000, "parts": ["part-00000.parquet"]}',
        '{"seed": 0, "stream": "../train", "rows": 1000, "parts": {}}',
        '{"seed": 0, "stream": "train", "rows": 1e300, "parts": {}}',
        '{"seed": 0, "stream": "train", "rows": 1000000000000000000, "parts": {}}',
        "[" * 100_000,
        "",
    ],
)
def test_a_manifest_that_make_did_not_write_is_rejected(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "_manifest.json").write_text(manifest)
    with pytest.raises(BadInput, match="is damaged"):
        cache.check(tmp_path / "d")
    (tmp_path / "d" / "notes.txt").write_text("of another user")
    with pytest.raises(BadInput, match=r"holds other files \(notes.txt\)"):
        cache.make(tmp_path / "d", 1000)
    assert (tmp_path / "d" / "_manifest.json").read_text() == manifest


@pytest.mark.parametrize("name", ["main.py", "table.parquet", "part-00000.parquet", ".hidden"])
def test_a_folder_with_other_files_is_left_unchanged(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("of another user")
    with pytest.raises(BadInput, match=rf"holds other files \({name}\); name a new or empty folder"):
        cache.make(tmp_path, 1000)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "of another user"


def test_another_dataset_is_not_overwritten(tmp_path: Path) -> None:
    cache.make(tmp_path / "d", 1000)
    before = (tmp_path / "d" / "part-00000.parquet").read_bytes()
    with pytest.raises(BadInput, match="holds another dataset"):
        cache.make(tmp_path / "d", 2000)
    assert (tmp_path / "d" / "part-00000.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"IRISBENCH_DATA": "/data"}, "/data"),
        ({"XDG_CACHE_HOME": "/caches"}, "/caches/irisbench"),
        ({}, "/home/user/Library/Caches/irisbench" if sys.platform == "darwin" else "/home/user/.cache/irisbench"),
    ],
)
def test_the_cache_folder_follows_the_variables_and_the_system(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IRISBENCH_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/user"} | variables).items():
        monkeypatch.setenv(name, value)
    assert cache.cached(500).parent == Path(folder)


def test_ten_million_rows_take_less_than_a_gibibyte(tmp_path: Path) -> None:
    """Run the command as the only child of another process, whose resource usage then is that of the command."""
    words = [sys.executable, "-m", "datasets", "make", "--rows", "1e7", "--output", str(tmp_path / "d")]
    script = (
        "import resource, subprocess\n"
        f"subprocess.run({words!r}, check=True, capture_output=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 2**30
    assert json.loads((tmp_path / "d" / "_manifest.json").read_text())["rows"] == 10_000_000
