"""The choice of the executor that trains some clients."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property, partial

from fedlab.engine.execution.executor import Cohort, Executor, Setting
from fedlab.engine.execution.executors import executors_of
from fedlab.engine.execution.low_rank_rule import Form, may_be_low_rank
from fedlab.engine.execution.remembered_times import seconds_of
from fedlab.federation.preaggregation import Preaggregation
from fedlab.scenario import Scenario

log = logging.getLogger("fedlab")

FORMS: tuple[Form, ...] = ("auto", "dense", "low_rank")
"""What ``engine.dense_layers: measured`` chooses from; the first one where times are equal."""


class ExecutorChoice:
    """Executors for each form of dense layers, and which of them trains.

    Args:
        scenario: The experiment.
        setting: The constants of the run.
        device: The kind of device.
    """

    def __init__(self, scenario: Scenario, setting: Setting, device: str) -> None:
        self.scenario, self.setting, self.device = scenario, setting, device
        self.form: Form = "auto"
        self.measures = scenario.engine.dense_layers == "measured"
        if scenario.engine.dense_layers != "measured":
            self.form = scenario.engine.dense_layers
        self._measured: dict[tuple[int, int], Form] = {}

    @cached_property
    def executors(self) -> Mapping[Form, list[Executor]]:
        """By form, the executors, the fastest first; the last one supports everything."""
        forms = FORMS if self.measures else (self.form,)
        return {form: executors_of(self.setting._replace(dense_layers=form)) for form in forms}

    def of(
        self, cohort: Cohort, into: Preaggregation | None = None, alone: bool = False
    ) -> Executor:
        """The executor of some clients.

        Args:
            cohort: The clients.
            into: Sum to which their updates will be added.
            alone: Whether a single client was sent for by itself.
        """
        form = self.form
        if self.measures and may_be_low_rank(self.setting.trainer):
            form = self._quickest(cohort, into, alone)
        return self._able(form, cohort, alone)

    def _able(self, form: Form, cohort: Cohort, alone: bool) -> Executor:
        able = (each for each in self.executors[form] if each.supports(cohort))
        return next(each for each in able if each.trains_one or not alone)

    def _quickest(self, cohort: Cohort, into: Preaggregation | None, alone: bool) -> Form:
        """The quickest form for so many clients of this size, to a power of two."""
        work = len(cohort.clients), max(len(data.labels) for data in cohort.datas).bit_length()
        if work not in self._measured:

            def train(form: Form) -> None:
                total = None if into is None else into.empty()
                self._able(form, cohort, alone).train(cohort, total)

            ways = {form: partial(train, form) for form in FORMS}
            seconds = seconds_of(ways, self.scenario, self.device, "dense layers", *work)
            self._measured[work] = min(FORMS, key=lambda form: seconds[form])
            times = ", ".join(f"{form} {seconds[form]:.4f} s" for form in FORMS)
            size = f"{work[0]} clients" if work[0] > 1 else "1 client"
            size += f" of up to {2 ** work[1] - 1} samples"
            log.info("dense layers: %s (%s took: %s)", self._measured[work], size, times)
        return self._measured[work]
