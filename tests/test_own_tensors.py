"""Tensors that server and device make by themselves, and that must be the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flwr.app import Message
from torch import nn

from fedlab import flower_compat
from fedlab.deploy.device.own_tensors import check_own_tensors, sketch
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.handshake import INVITE, DeviceInfo
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError
from fedlab.scenario_file import load_scenario
from helpers.four_domains import write_four


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    model.register_buffer("mask", torch.tensor([0.0, float("-inf"), float("nan")]))
    model.register_buffer("places", torch.arange(5))
    return model


def refused(theirs: nn.Module, ours: nn.Module, sent: tuple[str, ...] = ()) -> str:
    """The error of a device; empty where it may take part."""
    try:
        check_own_tensors(sketch(theirs, sent), sketch(ours, sent))
    except InputError as error:
        return str(error)
    return ""


def test_a_sum_is_what_it_says() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.load_state_dict({"weight": torch.tensor([[3.0, 4.0]])})
    norm, weighted = sketch(model, ())["weight float32 [1, 2]"]
    assert norm == 5
    assert weighted == pytest.approx(3 + 4 * 0.5403023058681398)  # cosines of 0 and 1


def test_the_same_network_is_accepted_also_where_processors_round_differently() -> None:
    other = network()
    weight = other.get_parameter("0.weight")
    with torch.no_grad():
        weight.mul_(1 + 1e-6 * torch.randn_like(weight))
    assert refused(network(), other) == ""


def test_other_values_are_refused_by_name() -> None:
    assert "'0.weight' and 3 more" in refused(network(), network(1))
    assert "'2.weight' and 1 more" in refused(network(), network(1), sent=("0.weight", "0.bias"))
    swapped = network()
    weight = swapped.get_parameter("2.weight")
    with torch.no_grad():
        weight.copy_(weight.flip(0))  # the same numbers elsewhere
    assert "'2.weight', which" in refused(network(), swapped)
    shifted = network()
    shifted.get_buffer("mask").copy_(torch.tensor([float("-inf"), 0.0, float("nan")]))
    assert "'mask'" in refused(network(), shifted)


def test_other_tensors_and_forms_are_refused() -> None:
    more = network()
    more.register_buffer("further", torch.zeros(1))
    assert "'further'" in refused(network(), more)
    assert "'further'" in refused(more, network())
    assert "'0.weight' and 4 more" in refused(network(), network().double())


def test_a_device_with_another_file_of_weights_is_sent_away(tmp_path: Path) -> None:
    flower_compat.assume_identity()
    weights = tmp_path / "first.pt"
    model = {"name": "helpers.read_from_file:network", "path": str(weights)}
    torch.save(nn.Linear(192, 6).state_dict(), weights)
    four = write_four(tmp_path)
    scenario = load_scenario(four, {"model": model, "strategy": "fedavg"})
    terms = setup_of(scenario).invitation("run", scenario)
    assert terms.own_tensors == ("1.weight float32 [6, 192]", "1.bias float32 [6]")

    def look() -> DeviceInfo:
        device = Participant("north", four.parent / "north.npz", None, tmp_path / "d", "cpu", 1)
        message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
        reply = device.answer(flower_compat.stamp(message))
        assert reply is not None
        return DeviceInfo.of(reply.content)

    assert look() == DeviceInfo("north", "north", 40, 20)
    torch.save(nn.Linear(192, 6).state_dict(), weights)
    with pytest.raises(InputError, match=r"'1\.weight' and 1 more.*file of we"):
        look()
