"""./nox -s tune: every training is kept as CSV, and the table of recipes is made from it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from adapters import registry
from benchmarks.run_folder.environment import ROOT
from benchmarks.tools import tune

SWEEP = """
import sys
from pathlib import Path
from benchmarks.tools import tune
folder = Path(sys.argv[1])
for rows in (1_000, 2_000):
    tune.keep(
        tune.frame("scikit-learn", "logistic", tune.sweep("scikit-learn", "logistic", [rows], 2, 1, print)),
        folder / "RECIPES.md", folder / "sweeps",
    )
"""


def test_a_sweep_is_kept_as_csv_and_becomes_the_table(tmp_path: Path) -> None:
    if reason := registry.FRAMEWORKS["scikit-learn"].missing():
        pytest.skip(reason)
    (tmp_path / "RECIPES.md").write_text(f"# Recipes\n\nProse stays.\n\n{tune.TABLE}\n\nold table\n")
    # In a process of its own, because a sweep hides the other frameworks.
    subprocess.run([sys.executable, "-c", SWEEP, str(tmp_path)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    trainings = pd.read_csv(tmp_path / "sweeps" / "scikit-learn-logistic.csv")
    assert set(trainings["rows"]) == {1_000, 2_000}  # the second sweep left the first size alone
    assert set(trainings["seed"]) == {0, 1}
    assert trainings[trainings["in_use"]]["recipe"].str.startswith("newton-cholesky").all()
    prose, _, table = (tmp_path / "RECIPES.md").read_text().partition(tune.TABLE)
    assert prose == "# Recipes\n\nProse stays.\n\n"
    assert "old table" not in table
    assert [line.split(" | ")[2] for line in table.strip().splitlines()[2:]] == ["1,000", "2,000"]


def trainings(
    recipe: str, seconds: list[float], log_losses: list[float], in_use: bool = False
) -> list[dict[str, object]]:
    return [
        {
            "framework": "scikit-learn",
            "model": "logistic",
            "rows": 1_000,
            "recipe": recipe,
            "in_use": in_use,
            "seconds": second,
            "accuracy": 0.98,
            "log_loss": log_loss,
            "least_accuracy": 0.97,
            "log_loss_limit": 0.053,
            "reference_log_loss": 0.052,
            "error": None,
        }
        for second, log_loss in zip(seconds, log_losses, strict=True)
    ]


def test_a_recipe_passes_only_if_its_worst_seed_does() -> None:
    found = pd.DataFrame(
        trainings("in use", [2, 2, 2], [0.0521, 0.0522, 0.0521], in_use=True)
        + trainings("lucky", [1, 1, 1], [0.0521, 0.0521, 0.0531])
        + trainings("slower", [4, 3, 5], [0.0521, 0.0521, 0.0521])
    )
    summary = tune.summary(found).set_index("recipe")
    assert summary["passes"].to_dict() == {"in use": True, "lucky": False, "slower": True}
    assert summary["seconds"]["slower"] == 4
    (line,) = tune.table(found)[2:]
    assert line == ("| scikit-learn | logistic | 1,000 | in use | 2 | +0.0002 (+0.0010) | slower | 4 |")
