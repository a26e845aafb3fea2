"""Tells whether a cheaper training ranks configurations as the full one does.

    python scripts/rank_fidelity.py results/reference/curves results/reference/fidelity-lite0-64px-10epochs

Each folder holds `leaderboard.csv` and `epochs.csv` of a run; configurations are matched by their learning rate, which
a search draws only once. Printed are Spearman's rank correlations with the best Dice loss of the full training: of the
cheaper one, and of the full one cut off after each epoch, which is what early stopping sees; both for all
configurations and for the better half, which a search has to tell apart.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr


def best_so_far(folder: Path) -> pd.DataFrame:
    """Return the best Dice loss up to each epoch: a row for each learning rate, a column for each epoch."""
    trials = pd.read_csv(folder / "leaderboard.csv").set_index("trial")
    epochs = pd.read_csv(folder / "epochs.csv")
    table = epochs.pivot_table(index="trial", columns="epoch", values="best_val_dice_loss")
    table.index = trials.loc[table.index, "learning_rate"]
    complete: pd.DataFrame = table.dropna()
    return complete


def correlation(values: pd.Series, final: pd.Series, half: bool) -> float:
    """Return Spearman's rank correlation of all configurations, or of the better half by `final`."""
    names = final.nsmallest((len(final) + 1) // 2).index if half else final.index
    return float(spearmanr(values[names], final[names]).statistic)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cheap", type=Path, help="folder of the cheaper trainings")
    parser.add_argument("full", type=Path, help="folder of the full ones")
    given = parser.parse_args()
    cheap, full = best_so_far(given.cheap), best_so_far(given.full)
    shared = full.index.intersection(cheap.index)
    if len(shared) < 4:
        print(f"{given.full}: only {len(shared)} configurations of {given.cheap} are there; 4 are needed.")
        return 2
    cheap, full = cheap.loc[shared], full.loc[shared]
    final = full.iloc[:, -1]
    print(f"{len(shared)} configurations, each trained in both ways")
    print("| epochs | correlation, cheaper | better half | correlation, full | better half |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for epoch in sorted({*cheap.columns, *full.columns}):
        cells = [
            f"{correlation(table[epoch], final, half):.2f}" if epoch in table else "–"
            for table in (cheap, full)
            for half in (False, True)
        ]
        print(f"| {epoch} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
