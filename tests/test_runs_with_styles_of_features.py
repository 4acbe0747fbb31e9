"""Styles of features (CCST, PARDON) in whole runs: what travels, resuming, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import pytest
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fedlab.clients.base import Received, Update
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError, RunError
from fedlab.models.spec import ModelSpec
from fedlab.preparation import prepare
from fedlab.simulation import resume, simulate
from helpers import toy
from helpers.cohorts import MODELS
from helpers.running import At, result

CNN = MODELS["cnn-group"]
CHANNELS = 4


def block(name: str) -> dict[str, Any]:
    return {"name": name, "styles": "features"}


def scenario(name: str, **changes: Any) -> Any:
    return toy.scenario(**{"strategy": block(name), "model": CNN} | changes)


@pytest.mark.parametrize(("name", "sent"), [("ccst", 3), ("pardon", 1)])
def test_the_model_and_styles_travel_once(name: str, sent: int, tmp_path: Path) -> None:
    run = simulate(scenario(name), out=tmp_path / "run", progress=False)
    history = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    model = 4 * (3 * 9 * 4 + 4 * 9 * 8 + 8 * 9 * 8 + 2 * (4 + 8 + 8) + 8 * 4 + 4)
    style, index = 4 * 2 * CHANNELS, 8 * (name == "ccst")
    assert history[1, "bytes_up"] == 3 * (model + style)
    assert history[1, "bytes_down"] == 3 * (3 * model + sent * (style + index))
    assert history[2, "bytes_up"] == 3 * model
    assert history[2, "bytes_down"] == 3 * 2 * model


@pytest.mark.parametrize("name", ["ccst", pytest.param("pardon", marks=pytest.mark.slow)])
def test_a_run_resumes_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    def stop() -> None:
        raise RuntimeError("power cut")

    chosen = scenario(name, rounds=3)
    simulate(chosen, out=tmp_path / "whole", progress=False)
    with pytest.raises((RuntimeError, RunError)):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(2, stop)], progress=False)
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_the_style_of_an_unseen_domain_is_not_in_the_bank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {
        "sources": [{"name": "helpers.toy:Stripes"}],
        "image_size": 8,
        "unseen_domains": ["d2"],
    }
    partition = {"clients": 2, "domains": "one_per_client"}
    chosen = scenario("ccst", data=data, partition=partition)
    banks: list[dict[str, Tensor]] = []
    answer = Runtime.answer

    def watched(self: Runtime, client: int, question: str, received: Received) -> Update:
        if question == "keep":
            banks.append(dict(received.arrays["styles"]))
        return answer(self, client, question, received)

    monkeypatch.setattr(Runtime, "answer", watched)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert [bank["means"].shape for bank in banks] == [(2, CHANNELS)] * 2
    assert banks[0]["clients"].tolist() == [0, 1]
    assert "d2" in set(run.history.domain)


# ---------------------------------------------------------------------------------------- refusals


class Recomputed(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.middle = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Any:
        maps: Any = checkpoint(self.middle, self.conv(images), use_reentrant=False)
        return self.head(maps.mean(dim=(2, 3)))


class Checkpointed(ModelSpec):
    """A network whose middle is computed again in the backward pass."""

    name: Literal["test_runs_with_styles_of_features:Checkpointed"] = (
        "test_runs_with_styles_of_features:Checkpointed"
    )

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return Recomputed(classes)


@pytest.mark.parametrize("name", ["ccst", "pardon"])
def test_what_makes_no_sense_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="the model 'mlp' has none with maps of more than one"):
        prepare(scenario(name, model="mlp"))
    warm = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8}
    with pytest.raises(InputError, match=f"{name} paints images in other styles, and 'warm_up'"):
        prepare(scenario(name, data=warm | {"features": {"name": "warm_up"}}, model="mlp"))
    recomputed = {"name": "test_runs_with_styles_of_features:Checkpointed"}
    with pytest.raises(InputError, match=r"turn that off, or use strategy\.styles=pixels"):
        prepare(scenario(name, model=recomputed))
    prepare(scenario(name, model=recomputed, strategy=name))


def test_untrained_running_statistics_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batch = MODELS["cnn-batch"]
    with caplog.at_level(logging.WARNING, logger="fedlab"):
        prepare(scenario("ccst"))
        prepare(scenario("ccst", model=batch, strategy="ccst"))
        assert "strategy.styles" not in caplog.text
        prepare(scenario("ccst", model=batch))
        assert "of a network that was never trained" in caplog.text
        run = simulate(toy.scenario(model=batch, rounds=1), out=tmp_path / "run", progress=False)
        caplog.clear()
        prepare(scenario("ccst", model={**batch, "weights": str(run.folder)}))
        assert "strategy.styles" not in caplog.text
