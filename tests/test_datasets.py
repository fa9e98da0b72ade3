"""The flowers are what they claim to be, whoever makes them and in whatever order."""

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

from commandline import LARGEST_ROWS, BadInput
from datasets import files, scores, store, synthetic
from datasets.flowers import real_flowers
from datasets.maximum_likelihood import class_probabilities
from datasets.synthetic import Stream
from tests.conftest import ROOT, Command, one_line


def test_the_150_flowers_are_those_of_scikit_learn() -> None:
    load_iris = pytest.importorskip("sklearn.datasets").load_iris
    features, species = real_flowers()
    np.testing.assert_array_equal(features, load_iris().data.astype(np.float32))
    np.testing.assert_array_equal(species, load_iris().target)


def test_a_chunk_is_the_same_whatever_was_made_before_it() -> None:
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
    # Four float32 of one row coincide by chance once in far more rows than these.
    assert len(set(rows)) == len(rows)


def test_synthetic_flowers_have_the_moments_of_the_real_ones() -> None:
    features, species = synthetic.chunk(0, Stream.TRAIN, 0)
    real, real_species = real_flowers()
    for code in range(3):
        made, grown = features[species == code], real[real_species == code]
        np.testing.assert_allclose(made.mean(axis=0), grown.mean(axis=0), atol=0.02)
        np.testing.assert_allclose(np.cov(made, rowvar=False), np.cov(grown, rowvar=False), atol=0.01)
        assert np.mean(species == code) == pytest.approx(1 / 3, abs=0.01)


def test_the_posterior_is_bayes_rule_by_scipys_densities() -> None:
    features = synthetic.chunk(0, Stream.TEST, 0)[0][:500]
    truth = synthetic.fitted()
    density = np.column_stack(
        [multivariate_normal(m, f @ f.T).pdf(features) for m, f in zip(truth.means, truth.factors, strict=True)]
    )
    np.testing.assert_allclose(
        synthetic.posterior(features), density / density.sum(axis=1, keepdims=True), rtol=1e-6, atol=1e-12
    )


def test_bayes_accuracy_is_the_integral_of_the_largest_posterior() -> None:
    """Two estimates of one number: how often the best guess is right, and how sure the best guess is on average."""
    chunks = [synthetic.chunk(0, Stream.TEST, number) for number in range(8)]
    features, species = np.concatenate([x for x, _ in chunks]), np.concatenate([y for _, y in chunks])
    posterior = synthetic.posterior(features)
    right = scores.accuracy(species, posterior.argmax(axis=1))
    assert right == pytest.approx(posterior.max(axis=1).mean(), abs=0.0006)
    assert right == pytest.approx(0.9837, abs=0.0006)


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
    store.make(tmp_path / "d", 70_000, seed=2)
    features, species = store.read(tmp_path / "d")
    chunks = [synthetic.chunk(2, Stream.TRAIN, number) for number in (0, 1)]
    np.testing.assert_array_equal(features, np.concatenate([x for x, _ in chunks])[:70_000])
    np.testing.assert_array_equal(species, np.concatenate([y for _, y in chunks])[:70_000])


def test_150_training_rows_are_the_real_flowers(tmp_path: Path) -> None:
    store.make(tmp_path / "d", 150)
    np.testing.assert_array_equal(store.read(tmp_path / "d")[0], real_flowers()[0])


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_part_is_made_again_and_said_so(tmp_path: Path, damage: str) -> None:
    rows = store.PART_ROWS + 1000
    store.make(tmp_path / "d", rows)
    part = tmp_path / "d" / "part-00001.parquet"
    whole = part.read_bytes()
    flipped = bytes([*whole[:100], whole[100] ^ 1, *whole[101:]])
    if damage == "gone":
        part.unlink()
    else:
        part.write_bytes(whole[:1000] if damage == "cut" else flipped)
    assert store.check(tmp_path / "d") == ["part-00001.parquet is missing or damaged"]
    [said] = store.make(tmp_path / "d", rows)
    assert "part-00001.parquet was damaged or gone" in said
    assert part.read_bytes() == whole


def test_a_damaged_manifest_is_made_again_and_said_so(tmp_path: Path) -> None:
    store.make(tmp_path / "d", 1000)
    (tmp_path / "d" / "_manifest.json").write_text('{"seed": 0, "str')
    [said] = store.make(tmp_path / "d", 1000)
    assert "_manifest.json was damaged" in said
    assert store.check(tmp_path / "d") == []


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    store.make(tmp_path / "d", 1000)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for end in (gone.pid, "0a1b2c3d"):
        (tmp_path / "d" / f".part-00000.parquet.{end}").touch()
    store.make(tmp_path / "d", 1000)
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == [".lock", "_manifest.json", "part-00000.parquet"]


def test_a_replaced_file_keeps_its_mode_and_no_planted_link_is_followed(tmp_path: Path) -> None:
    victim, output = tmp_path / "victim", tmp_path / "out.csv"
    for mode in (0o600, 0o664, 0o444):
        output.write_text("of yesterday")
        output.chmod(mode)
        victim.write_text("of somebody")
        (tmp_path / f".out.csv.{os.getpid()}").symlink_to(victim)
        files.replace_file(output, lambda beside: beside.write_text("of today"))
        (tmp_path / f".out.csv.{os.getpid()}").unlink()
        assert stat.S_IMODE(output.stat().st_mode) == mode
        assert (output.read_text(), victim.read_text()) == ("of today", "of somebody")
        output.unlink()
    files.replace_file(output, lambda beside: beside.write_text("of today"))
    (tmp_path / "plain").touch()
    assert output.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "plain", "victim"]


def test_nothing_half_written_keeps_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_write", fail)
    with pytest.raises(KeyboardInterrupt):
        store.make(tmp_path / "d", 1000)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [".lock", "_manifest.json"]
    assert store.Manifest.read(tmp_path / "d").parts == {}


def test_a_full_disk_is_noticed_before_anything_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: SimpleNamespace(free=67_000_000_000))
    with pytest.raises(BadInput, match=r"100,000,000,000 rows need 1.7 TB in .*, but 67 GB are free; ask for fewer"):
        store.make(tmp_path / "d", 100_000_000_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "1e15"], "'1e15' is too many rows; a dataset can store 104,857,600,000"),
        (["--rows", "1e18"], "'1e18' is too many rows; a dataset can store 104,857,600,000"),
        (["--rows", "150", "--threads", "9999"], "--threads 9,999 needs 9,999 cores, this process may use"),
    ],
)
def test_what_cannot_be_made_gets_one_line(words: list[str], said: str, command: Command, tmp_path: Path) -> None:
    assert said in one_line(command("datasets", "make", *words, "--output", tmp_path / "d"))
    assert list(tmp_path.iterdir()) == []


def test_the_most_rows_are_those_that_the_names_of_parts_can_count() -> None:
    assert LARGEST_ROWS == 10**5 * store.PART_ROWS


def test_two_datasets_are_not_made_into_one_folder(tmp_path: Path) -> None:
    """Two processes with one seed both end well; one with another seed is refused; the dataset is whole."""
    words = [sys.executable, "-m", "datasets", "make", "--rows", "3e6", "--output", str(tmp_path / "d"), "--seed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([*words, seed], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for seed in ("1", "1", "2", "2")
    ]
    said = {process: process.communicate()[1] for process in started}
    seed = store.Manifest.read(tmp_path / "d").seed
    assert store.check(tmp_path / "d") == []
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
def test_a_manifest_that_make_did_not_write_is_not_trusted(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "_manifest.json").write_text(manifest)
    with pytest.raises(BadInput, match="is damaged"):
        store.check(tmp_path / "d")
    (tmp_path / "d" / "notes.txt").write_text("of somebody")
    with pytest.raises(BadInput, match=r"holds other files \(notes.txt\)"):
        store.make(tmp_path / "d", 1000)
    assert (tmp_path / "d" / "_manifest.json").read_text() == manifest


@pytest.mark.parametrize("name", ["main.py", "table.parquet", "part-00000.parquet", ".hidden"])
def test_a_folder_with_files_of_others_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("of somebody")
    with pytest.raises(BadInput, match=rf"holds other files \({name}\); name a new or empty folder"):
        store.make(tmp_path, 1000)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "of somebody"


def test_another_dataset_is_not_overwritten(tmp_path: Path) -> None:
    store.make(tmp_path / "d", 1000)
    before = (tmp_path / "d" / "part-00000.parquet").read_bytes()
    with pytest.raises(BadInput, match="holds another dataset"):
        store.make(tmp_path / "d", 2000)
    assert (tmp_path / "d" / "part-00000.parquet").read_bytes() == before


def test_the_cache_is_where_the_variable_says(cache: Path) -> None:
    assert store.cached(500).parent == cache


def test_ten_million_rows_take_less_than_a_gibibyte(tmp_path: Path) -> None:
    """In a process between, whose only child is the command, so that the largest child is that one."""
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
