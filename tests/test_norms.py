"""Which tensors of normalisation layers travel, and what may take their place."""

import pytest
import torch
from torch import nn
from torchvision.models import densenet121, resnet18

from fedlab.models.norms import (
    NormPolicy,
    convert_normalisation,
    has_batch_norm,
    local_names,
    shared_names,
)


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)),
        nn.Flatten(),
        nn.Linear(24, 7),
        nn.BatchNorm1d(7),
    )


def paths_of(model: nn.Module, kind) -> list[str]:
    return [path for path, part in model.named_modules() if isinstance(part, kind)]


def test_fedbn_keeps_every_batch_normalisation_of_a_torchvision_network_local():
    model = resnet18()
    expected = {
        f"{path}.{name}"
        for path in paths_of(model, nn.BatchNorm2d)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert "layer2.0.downsample.1.weight" in expected  # no "bn" in its name
    assert set(local_names(model, NormPolicy.LOCAL_ALL)) == expected
    assert set(shared_names(model, NormPolicy.LOCAL_ALL)) == set(model.state_dict()) - expected


def test_silobn_keeps_running_statistics_only():
    local = local_names(resnet18(), NormPolicy.SHARE_AFFINE)
    assert len(local) == 20 * 3
    assert {name.rpartition(".")[2] for name in local} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_fedavg_shares_everything():
    model = resnet18()
    assert local_names(model, NormPolicy.SHARE_ALL) == ()
    assert shared_names(model, NormPolicy.SHARE_ALL) == tuple(model.state_dict())


@pytest.mark.parametrize("policy", NormPolicy)
def test_names_keep_the_order_of_the_state(policy):
    model = small_network()
    order = list(model.state_dict())
    for names in (shared_names(model, policy), local_names(model, policy)):
        assert list(names) == sorted(names, key=order.index)


def test_other_normalisation_counts_as_well():
    model = convert_normalisation(small_network(), "group")
    assert local_names(model, NormPolicy.LOCAL_ALL) == (
        "0.1.weight",
        "0.1.bias",
        "3.weight",
        "3.bias",
    )
    assert local_names(model, NormPolicy.SHARE_AFFINE) == ()


def test_a_name_alone_makes_no_normalisation():
    class Misleading(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.Linear(2, 2)
            self.dense = nn.BatchNorm1d(2)

    assert set(shared_names(Misleading(), NormPolicy.LOCAL_ALL)) == {"bn.weight", "bn.bias"}


def test_a_network_may_be_a_single_layer():
    assert shared_names(nn.BatchNorm1d(2), NormPolicy.LOCAL_ALL) == ()
    assert isinstance(convert_normalisation(nn.BatchNorm1d(2), "layer"), nn.GroupNorm)


def test_whether_there_is_batch_normalisation():
    assert has_batch_norm(resnet18())
    assert not has_batch_norm(convert_normalisation(resnet18(), "group"))
    assert not has_batch_norm(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (48, 24), (30, 15), (2048, 32), (96, 32), (7, 1), (1, 1)]
)
def test_groups_divide_the_width_and_hold_two_channels_where_possible(channels, groups):
    converted = convert_normalisation(nn.Sequential(nn.BatchNorm2d(channels)), "group")
    assert converted[0].num_groups == groups


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_conversion_reaches_nested_layers_and_keeps_the_function_defined(norm):
    model = convert_normalisation(resnet18(num_classes=5), norm)
    assert not has_batch_norm(model)
    assert len(paths_of(model, nn.GroupNorm)) == 20
    model(torch.randn(1, 3, 32, 32)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_layer_normalisation_normalises_each_sample():
    model = convert_normalisation(nn.Sequential(nn.BatchNorm2d(6), nn.Flatten()), "layer")
    images = 3 + 2 * torch.randn(5, 6, 4, 4)
    expected = nn.functional.layer_norm(images, (6, 4, 4)).flatten(1)
    torch.testing.assert_close(model(images), expected)
    features = torch.randn(5, 6)
    converted = convert_normalisation(nn.Sequential(nn.BatchNorm1d(6)), "layer")
    torch.testing.assert_close(converted(features), nn.functional.layer_norm(features, (6,)))


def test_settings_of_the_replaced_layer_are_kept():
    (layer,) = convert_normalisation(
        nn.Sequential(nn.BatchNorm2d(4, eps=0.25, affine=False).double()), "group"
    )
    assert layer.eps == 0.25
    assert not list(layer.parameters())
    (layer,) = convert_normalisation(nn.Sequential(nn.BatchNorm2d(4).double()), "group")
    assert layer.weight.dtype is torch.float64


def test_without_normalisation_the_layer_before_gets_a_bias():
    model = small_network()
    kept = model[2].bias
    model = convert_normalisation(model, "none")
    assert not paths_of(model, (nn.BatchNorm1d, nn.BatchNorm2d))
    assert model[0][0].bias.tolist() == [0.0] * 6
    assert model[2].bias is kept
    assert list(model.state_dict()) == ["0.0.weight", "0.0.bias", "2.weight", "2.bias"]


def test_without_normalisation_means_of_any_type():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.LayerNorm(4), nn.GroupNorm(2, 4))
    model = convert_normalisation(model, "none")
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


def test_an_activation_behind_a_removed_layer_does_not_overwrite_its_input():
    # A pre-activation network concatenates the input of a normalisation with later outputs.
    torch.manual_seed(0)
    model = convert_normalisation(densenet121(num_classes=3), "none").eval()
    features = torch.randn(1, 64, 8, 8)
    kept = features.clone()
    model.features.denseblock1(features)
    assert torch.equal(features, kept)


def test_a_layer_used_twice_stays_one_layer():
    norm = nn.BatchNorm1d(4)
    model = convert_normalisation(nn.Sequential(norm, nn.Linear(4, 4), norm), "group")
    assert model[0] is model[2]
    assert isinstance(model[2], nn.GroupNorm)
