"""Which dense layers take low-rank form."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fedlab.engine import processor
from fedlab.engine.execution.low_rank_rule import LayerWork
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec


@pytest.mark.parametrize(
    ("shape", "passes", "samples", "form", "first", "later"),
    [
        ((128, 12544), 1, 50, "auto", True, True),
        ((128, 12544), 100, 50, "auto", True, False),
        ((128, 12544), 1, 5000, "auto", False, False),
        ((62, 784), 1, 200, "auto", True, False),
        ((62, 784), 1, 5000, "low_rank", True, True),
        ((62, 784), 1, 50, "dense", False, False),
    ],
)
def test_the_rule(
    shape: tuple, passes: int, samples: int, form: Any, first: bool, later: bool
) -> None:
    work = LayerWork(steps=passes * samples // 10, seen=passes * samples, samples=samples)
    optimizer = Optimizer(OptimizerSpec(lr=0.1))
    weight = torch.empty(*shape, device="meta")
    assert work.low_rank_first(weight, optimizer, form) is first
    assert work.low_rank_later(weight, optimizer, form) is later


@pytest.mark.parametrize(
    ("intel", "samples", "form", "alone"),
    [
        (True, 50, "auto", True),
        (True, 100, "auto", True),
        (True, 200, "auto", False),
        (True, 5000, "auto", False),
        (False, 50, "auto", True),
        (False, 200, "auto", False),
        (False, 200, "low_rank", True),
        (False, 50, "dense", False),
    ],
)
def test_the_rule_for_a_client_alone_knows_the_processor(
    intel: bool, samples: int, form: Any, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedlab.engine.execution.low_rank_rule.is_intel", lambda: intel)
    work = LayerWork(steps=samples // 10, seen=samples, samples=samples)
    weight = torch.empty(128, 12544, device="meta")
    assert work.low_rank_alone(weight, Optimizer(OptimizerSpec(lr=0.1)), form) is alone


@pytest.mark.parametrize(("intel", "alone"), [(True, True), (False, False)])
def test_a_layer_that_no_cache_holds_is_another_case(
    intel: bool, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedlab.engine.execution.low_rank_rule.is_intel", lambda: intel)
    work = LayerWork(steps=23, seen=743, samples=743)
    weight = torch.empty(2048, 6272, device="meta")
    assert work.low_rank_alone(weight, Optimizer(OptimizerSpec(lr=0.1)), "auto") is alone


@pytest.mark.parametrize(
    ("vendor", "intel"),
    [("GenuineIntel", True), ("AuthenticAMD", False)],
)
def test_the_processor_names_its_maker(
    vendor: str, intel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t: fpu\n")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.is_intel.__wrapped__() is intel


def test_a_system_without_a_file_of_its_processors_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "Intel64 Family 6, GenuineIntel")
    assert processor.is_intel.__wrapped__()
