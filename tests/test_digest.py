"""The digest of a recipe changes if the code that trains changes, and only then."""

from __future__ import annotations

import ast
import io
import shutil
import tokenize
from pathlib import Path

import pytest

from adapters import digest, registry
from benchmarks.comparison import comparability
from benchmarks.results.environment import Environment, FrameworkFacts
from tests.conftest import ROOT

NAMES = sorted(registry.OURS)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the folders that digests cover."""
    for package in digest.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    return tmp_path


def digests(root: Path) -> dict[str, str]:
    files = {name: registry.FRAMEWORKS[name].source.relative_to(ROOT) for name in NAMES}
    return {name: digest.of_recipe(root / file) for name, file in files.items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in NAMES if before[name] != after[name]}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def reworded(source: str) -> str:
    """Return the source with other docstrings and comments, and with more lines."""
    strings = {
        (node.lineno, node.col_offset)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    lines = source.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        if token.type == tokenize.COMMENT:
            new = "# Something else."
        elif token.type == tokenize.STRING and token.start in strings:
            new = '"""Say something else.\n\nIn two paragraphs."""'
        else:
            continue
        (first, start), (last, end) = token.start, token.end
        lines[first - 1 : last] = [lines[first - 1][:start] + new + lines[last - 1][end:]]
    return "# A licence.\n\n" + "".join(lines)


def test_rewording_every_docstring_and_comment_changes_no_digest(copy: Path) -> None:
    before = digests(copy)
    assert len(set(before.values())) == len(NAMES) - 2  # PyTorch and TensorFlow each have two rows
    for path in [path for package in digest.PACKAGES for path in (copy / package).glob("*.py")]:
        source = path.read_text()
        path.write_text(reworded(source))
        assert ast.get_docstring(ast.parse(path.read_text())) != ast.get_docstring(ast.parse(source))
    assert digests(copy) == before


@pytest.mark.parametrize("framework", sorted(set(NAMES) - {"baseline"}))
def test_changing_any_number_of_a_recipe_changes_the_digest(framework: str) -> None:
    source = registry.FRAMEWORKS[framework].source.read_text()
    [recipe] = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == "recipe"
    ]
    numbers = [
        node for node in ast.walk(recipe) if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    ]
    assert numbers
    seen = {digest.of_source(source.encode())}
    for number in numbers:
        lines = source.splitlines(keepends=True)
        line = lines[number.lineno - 1]
        other = str(not number.value) if isinstance(number.value, bool) else str(number.value * 2 + 1)
        lines[number.lineno - 1] = line[: number.col_offset] + other + line[number.end_col_offset :]
        seen.add(digest.of_source("".join(lines).encode()))
    assert len(seen) == 1 + len(numbers)


EVERY = set(NAMES)
IN_BATCHES = {"scikit-learn", "pytorch-cpu", "pytorch-gpu", "tensorflow-cpu", "tensorflow-gpu"}


@pytest.mark.parametrize(
    ("file", "old", "new", "frameworks"),
    [
        ("adapters/scikit_learn.py", "learning_rate=rate", "learning_rate=2 * rate", {"scikit-learn"}),
        ("adapters/minibatch.py", "LARGEST_BATCH = ", "LARGEST_BATCH = 2 * ", IN_BATCHES),
        ("adapters/minibatch.py", "* rows // steps", "* rows // (steps + 1)", IN_BATCHES),
        ("adapters/newton.py", "MOST_ITERATIONS = ", "MOST_ITERATIONS = 2 * ", IN_BATCHES - {"scikit-learn"}),
        ("adapters/h2o_server.py", '"-nthreads"', '"-threads"', {"h2o"}),
        ("adapters/spark_jvm.py", '"spark.authenticate"', '"spark.other"', {"spark"}),
        ("adapters/java.py", "-XX:ActiveProcessorCount", "-XX:OtherProcessorCount", {"h2o", "spark"}),
        ("adapters/base.py", "(512, 512, 512)", "(512, 512)", EVERY),
        ("datasets/store.py", "GROUP_ROWS = ", "GROUP_ROWS = 2 * ", EVERY),
        ("adapters/skops_file.py", "def load(", "def load_checked(", set()),
        ("adapters/spark_folder.py", "LARGEST_FILE_BYTES", "MOST_BYTES", set()),
    ],
)
def test_a_change_of_code_changes_the_digests_of_the_frameworks_that_train_with_it(
    file: str, old: str, new: str, frameworks: set[str], copy: Path
) -> None:
    before = digests(copy)
    replace(copy / file, old, new)
    assert changed(before, digests(copy)) == frameworks


def test_every_module_that_the_digest_leaves_out_exists() -> None:
    for module in digest.NOT_TRAINING:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_runs_with_different_digests_differ_in_the_code_that_trains() -> None:
    earlier, now = (
        Environment(frameworks={"h2o": FrameworkFacts(recipe_digest=known)})
        for known in ("50bb", registry.recipe_digest("h2o"))
    )
    assert comparability.recipe_changed(earlier, now, "h2o") == ["the code that trains h2o has changed"]
    assert comparability.recipe_changed(now, now, "h2o") == []
    assert comparability.recipe_changed(Environment(), now, "h2o") == []
