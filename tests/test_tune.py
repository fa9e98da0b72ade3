"""./nox -s tune keeps every training as CSV, and makes the table of recipes from these files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.tools import tune
from tests.conftest import ROOT, missing

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


def test_the_trainings_of_a_sweep_are_kept_as_csv_and_shown_in_the_table(tmp_path: Path) -> None:
    if reason := missing("scikit-learn"):
        pytest.skip(reason)
    (tmp_path / "RECIPES.md").write_text(f"# Recipes\n\nProse stays.\n\n{tune.TABLE}\n\nold table\n")
    # A sweep runs in its own process, because it hides the other frameworks.
    subprocess.run([sys.executable, "-c", SWEEP, str(tmp_path)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    trainings = pd.read_csv(tmp_path / "sweeps" / "scikit-learn-logistic.csv")
    assert set(trainings["rows"]) == {1_000, 2_000}  # the second sweep kept the first size
    assert set(trainings["seed"]) == {0, 1}
    assert trainings[trainings["in_use"]]["recipe"].str.startswith("newton-cholesky").all()
    prose, _, table = (tmp_path / "RECIPES.md").read_text().partition(tune.TABLE)
    assert prose == "# Recipes\n\nProse stays.\n\n"
    assert "old table" not in table
    assert [line.split(" | ")[2] for line in table.strip().splitlines()[2:]] == ["1,000", "2,000"]


def trainings(
    recipe: str, seconds: list[float], log_losses: list[float], in_use: bool = False
) -> list[dict[str, object]]:
    """Return the rows of one recipe, one per seed."""
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


def test_a_recipe_passes_only_if_its_worst_seed_passes() -> None:
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
