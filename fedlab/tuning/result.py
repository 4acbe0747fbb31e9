"""The results of a tuning, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.comparison.comparison import Comparison
from fedlab.config import yaml_text
from fedlab.errors import InputError
from fedlab.files import write_whole
from fedlab.metrics.metric_set import Score
from fedlab.runs.run import load_run
from fedlab.scenario import Scenario
from fedlab.scenario_file import to_yaml
from fedlab.tuning.ledger import LEDGER, best_draws
from fedlab.tuning.left_out import restored
from fedlab.tuning.plan_file import read_plan
from fedlab.tuning.trials import folder_name

if TYPE_CHECKING:
    import pandas

TUNED, COMPARISON = "tuned.yaml", "comparison"


@dataclass(frozen=True)
class Tuning:
    """A finished `fedlab.tune`.

    Attributes:
        folder: Its folder.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Tuning:
        """Reads the folder of a tuning.

        Raises:
            InputError: If it holds none, or one that has not chosen yet.
        """
        read_plan(Path(folder))
        if not (Path(folder) / TUNED).is_file():
            raise InputError(f"the tuning in '{folder}' has not ended; run the same command again")
        return cls(Path(folder))

    @property
    def plan(self) -> Mapping[str, Any]:
        """The tuning's plan."""
        return read_plan(self.folder)

    @cached_property
    def ledger(self) -> pandas.DataFrame:
        """One row for each draw and seed (see `fedlab.tuning.ledger.ledger`)."""
        import pandas

        return pandas.read_csv(self.folder / LEDGER)

    @cached_property
    def chosen(self) -> Mapping[str, Mapping[str, Any]]:
        """For each method the values that were chosen, by dotted key; none for the defaults."""
        file = self.folder / TUNED
        return yaml_text.read(file.read_text(encoding="utf-8"), str(file), bounded=False)[0]

    @cached_property
    def comparison(self) -> Comparison:
        """The chosen settings on fresh seeds, tested once."""
        return Comparison.open(self.folder / COMPARISON)

    def summary(self) -> pandas.DataFrame:
        """One row per method: its chosen draw, and the one that test data would have chosen.

        Returns:
            ``draw``, ``score`` (on validation), ``default`` (the score of draw 0), ``oracle draw``
            and ``oracle`` (its result on test data, of the tuning's seeds; NaN where draws were
            not tested), indexed by method.
        """
        import pandas

        means = self.ledger.groupby(["method", "draw"], sort=False)[["score", "oracle"]].mean()
        rows = {}
        sign = self.plan["sign"]
        best = best_draws(self.ledger, self.rule, sign)
        tested = self.ledger["oracle"].notna().any()
        oracle = best_draws(self.ledger, "oracle", sign) if tested else {}
        for method, draw in best.items():
            by_test = oracle.get(method, float("nan"))
            rows[method] = {
                "draw": draw,
                "score": means.loc[(method, draw), "score"],
                "default": means.loc[(method, 0), "score"],
                "oracle draw": by_test,
                "oracle": means["oracle"].get((method, by_test), float("nan")),
            }
        return pandas.DataFrame.from_dict(rows, orient="index")

    @property
    def score(self) -> Score:
        """The score by which draws are judged."""
        run = load_run(next((self.folder / "draws").iterdir()))
        return run.scenario.metric_set.scores[self.plan["metric"]]

    def scenarios(self) -> dict[str, Scenario]:
        """For each method the scenario with its chosen values, and seed 0."""
        best = best_draws(self.ledger, self.rule, self.plan["sign"])
        found = {}
        for method, draw in best.items():
            folder = next((self.folder / "draws").glob(f"{folder_name(method)}-d{draw}-s*"))
            scenario = load_run(folder).scenario.model_copy(update={"seed": 0})
            kept = self.plan.get("kept")
            found[method] = restored(scenario, kept) if kept else scenario
        return found

    def write(self, file: str | Path) -> list[Path]:
        """Writes the tuned scenarios.

        Args:
            file: Where to; with several methods, the name of each is put before its ending.

        Returns:
            The files.

        Raises:
            InputError: If one cannot be written.
        """
        path, scenarios = Path(file), self.scenarios()
        written = []
        for method, scenario in scenarios.items():
            single = len(scenarios) == 1
            target = path if single else path.with_stem(f"{path.stem}-{folder_name(method)}")
            try:
                write_whole(target, to_yaml(scenario))
            except OSError as error:
                raise InputError(
                    f"'{target}' cannot be written: {error.strerror or error}; choose another file"
                ) from error
            written.append(target)
        return written

    @property
    def rule(self) -> str:
        """The ledger's column that decides: ``score``, or ``oracle``."""
        return "oracle" if self.plan["select"] == "oracle" else "score"
