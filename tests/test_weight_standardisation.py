"""Networks without normalisation: standardised kernels, residual blocks, adaptive clipping."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torchvision.models import mobilenet_v2, resnet18, resnet50
from torchvision.models.resnet import BasicBlock

from fedlab.errors import InputError
from fedlab.models.activations import KINDS, activation_gain
from fedlab.models.adaptive_clipping import adaptive_gradient_clip
from fedlab.models.alexnet import AlexNet
from fedlab.models.dense import MLP
from fedlab.models.digits_cnn import DigitsCNN
from fedlab.models.head import find_head
from fedlab.models.nf_residual import ALPHA, NormaliserFreeBlock
from fedlab.models.normalisation import NORMALISATION
from fedlab.models.resnet import ResNet20
from fedlab.models.weight_standardisation import WSConv2d, without_normalisation
from fedlab.strategies.fedwon import FedWonParameters

RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))


def kernels(model: nn.Module) -> list[WSConv2d]:
    return [part for part in model.modules() if isinstance(part, WSConv2d)]


def test_the_worked_example_of_standardisation():
    layer = WSConv2d(3, 2, kernel_size=2)
    layer.weight = nn.Parameter(torch.arange(1.0, 25).pow(1.5).reshape(2, 3, 2, 2))
    standardised = layer.standardised_weight()
    expected = torch.tensor([-0.386616, -0.345975, -0.293347, -0.231025])
    torch.testing.assert_close(standardised[0].flatten()[:4], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(standardised.sum((1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(standardised.square().sum((1, 2, 3)), torch.ones(2))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_layer_equals_the_formula(groups):
    torch.manual_seed(0)
    layer = WSConv2d(4, 8, 3, stride=2, padding=1, groups=groups, gamma=1.7).double()
    nn.init.normal_(layer.gain)
    images = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    rows = []
    for row, gain in zip(layer.weight.flatten(1), layer.gain, strict=True):
        fan_in = len(row)
        assert fan_in == 4 // groups * 9
        mean = sum(row) / fan_in
        deviation = torch.sqrt(sum((weight - mean) ** 2 for weight in row) / fan_in)
        rows.append(1.7 * gain * (row - mean) / (deviation * math.sqrt(fan_in)))
    kernel = torch.stack(rows).view_as(layer.weight)
    expected = nn.functional.conv2d(images, kernel, layer.bias, stride=2, padding=1, groups=groups)
    torch.testing.assert_close(layer(images), expected)


def test_a_constant_kernel_is_not_divided_by_zero():
    layer = WSConv2d(2, 2, 3)
    nn.init.ones_(layer.weight)
    layer(torch.randn(1, 2, 5, 5)).sum().backward()
    assert layer.standardised_weight().eq(0).all()
    assert layer.weight.grad.isfinite().all()


def test_raw_weights_may_be_shifted_and_scaled():
    layer = WSConv2d(3, 4, 3).double()
    before = layer.standardised_weight()
    with torch.no_grad():
        layer.weight.mul_(5).add_(2)
    torch.testing.assert_close(layer.standardised_weight(), before)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (nn.ReLU(), RELU_GAIN),
        (nn.LeakyReLU(0.2), ((1 + 0.2**2) / 2 - 0.8**2 / (2 * math.pi)) ** -0.5),
        (nn.SiLU(), 1.787187),  # this and the next two: adaptive quadrature of SciPy
        (nn.GELU(), 1.700926),
        (nn.Tanh(), 1.592537),
        (nn.Identity(), 1.0),
    ],
)
def test_the_gain_of_an_activation(activation, gain):
    assert activation_gain(activation) == pytest.approx(gain, abs=1e-6)


def test_the_gain_restores_the_variance():
    torch.manual_seed(0)
    signal = torch.randn(1_000_000)
    for kind in KINDS:
        activation = nn.Threshold(0.1, -1.0) if kind is nn.Threshold else kind().eval()
        with torch.no_grad():
            restored = activation_gain(activation.double()) * activation(signal.double())
        assert float(restored.std()) == pytest.approx(1, abs=5e-3), kind


def test_surgery_gives_fedwons_digits_network():
    model = DigitsCNN().network((3, 28, 28), 10)
    raw = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model = without_normalisation(model)
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_213_834
    assert not list(model.buffers())
    assert not any(isinstance(part, NORMALISATION) for part in model.modules())
    assert [layer.gamma for layer in kernels(model)] == pytest.approx([RELU_GAIN] * 3, abs=1e-6)
    for name, tensor in model.state_dict().items():
        if not name.endswith("gain"):
            assert torch.equal(tensor, raw[name])


def test_surgery_draws_no_random_numbers():
    model = resnet18()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    without_normalisation(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_surgery_gives_every_convolution_of_torchvision_a_bias_and_keeps_the_head():
    model = resnet18(num_classes=4)
    convolutions = {path: m.weight for path, m in model.named_modules() if type(m) is nn.Conv2d}
    head = model.fc
    model = without_normalisation(model)
    assert model.fc is head
    for path, weight in convolutions.items():
        layer = model.get_submodule(path)
        assert isinstance(layer, WSConv2d)
        assert layer.weight is weight
        assert layer.bias.eq(0).all()
        assert layer.gain.eq(1).all()
    assert len(kernels(model)) == 20


def test_only_convolutions_that_read_an_activation_make_up_for_it():
    gain = activation_gain(nn.ReLU6())
    model = without_normalisation(mobilenet_v2())
    assert model.features[0][0].gamma == 1  # it reads the images
    expand, depthwise, project = (part for part in kernels(model.features[3]))
    assert expand.gamma == 1  # it reads a linear bottleneck
    assert depthwise.gamma == project.gamma == pytest.approx(gain)
    assert depthwise.groups == depthwise.in_channels


def test_the_activation_is_found_behind_sums_gates_and_function_calls():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(2, 2, 3, padding=1)
            self.second = nn.Conv2d(2, 2, 3, padding=1)
            self.third = nn.Conv2d(2, 2, 3, padding=1)
            self.last = nn.Conv2d(2, 2, 3)
            self.dense = nn.Linear(2, 2)

        def forward(self, images):
            hidden = nn.functional.silu(self.first(images))
            hidden = torch.tanh(nn.functional.max_pool2d(self.second(hidden) + images, 2))
            gate = torch.sigmoid(self.dense(hidden.mean((2, 3))))
            hidden = nn.functional.leaky_relu(self.third(hidden), negative_slope=0.2)
            return self.last(gate[:, :, None, None] * hidden).flatten(1)

    model = without_normalisation(Residual())
    expected = [1, *(activation_gain(kind) for kind in (nn.SiLU(), nn.Tanh(), nn.LeakyReLU(0.2)))]
    assert [layer.gamma for layer in kernels(model)] == pytest.approx(expected)


# These two shrink small values more than large ones, so that any error grows from layer to layer.
GROWING = (nn.Tanhshrink, nn.Softshrink)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in (nn.Threshold, nn.RReLU, *GROWING)]
)
def test_the_variance_is_kept_from_layer_to_layer(kind):
    """What the tenth activation is given has the same standard deviation as the first."""
    torch.manual_seed(0)
    layers = [layer for _ in range(10) for layer in (nn.Conv2d(256, 256, 1), kind())]
    model = without_normalisation(nn.Sequential(*layers))
    heard = []
    for layer in kernels(model):
        nn.init.normal_(layer.weight)
        layer.register_forward_hook(lambda _, __, output: heard.append(float(output.std())))
    with torch.no_grad():
        model(torch.randn(400, 256, 1, 1))
    # ReLUs pass a factor on: all convolutions have the paper's constant, also the first.
    first = activation_gain(kind().double()) if kind in (nn.ReLU, nn.LeakyReLU, nn.PReLU) else 1
    assert heard[0] == pytest.approx(first, rel=0.05)
    assert heard[9] == pytest.approx(first, rel=0.15), heard


def test_layers_of_unknown_gain_are_logged(caplog):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, images):
            return self.second(torch.exp(self.first(images)))

    without_normalisation(Odd())
    assert "the convolution 'second' reads 'exp'" in caplog.text


def test_a_given_gamma_reaches_the_network():
    adapted = FedWonParameters(gamma=1.5).adapt(DigitsCNN().network((3, 8, 8), 10))
    assert {layer.gamma for layer in kernels(adapted)} == {1.5}


def test_normaliser_free_blocks_are_asked_for_in_the_strategys_block():
    for asked in (False, True):
        model = FedWonParameters(nf_residual=asked).adapt(ResNet20().network((3, 8, 8), 10))
        assert any(isinstance(part, NormaliserFreeBlock) for part in model.modules()) is asked


def test_a_chosen_gamma_counts_for_all_convolutions():
    model = without_normalisation(mobilenet_v2(), gamma=1.5)
    assert {layer.gamma for layer in kernels(model)} == {1.5}


def test_a_network_that_cannot_be_followed_needs_a_number():
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, images):
            return self.conv(images) if images.sum() > 0 else images

    with pytest.raises(InputError, match=r"give it a number instead, such as strategy\.gamma"):
        without_normalisation(Moody())
    assert without_normalisation(Moody(), gamma=1.7).conv.gamma == 1.7


def test_signals_neither_vanish_nor_explode():
    torch.manual_seed(0)
    model = without_normalisation(AlexNet().network((3, 64, 64), 10)).eval()
    stds = []
    for layer in kernels(model)[1:]:
        layer.register_forward_hook(lambda _, __, output: stds.append(float(output.std())))
    with torch.no_grad():
        model.average(model[:16](torch.randn(8, 3, 128, 128)))
    assert len(stds) == 4
    assert all(0.7 * RELU_GAIN < std < 2 * RELU_GAIN for std in stds)


def test_normaliser_free_blocks_begin_as_their_shortcut():
    torch.manual_seed(0)
    model = without_normalisation(ResNet20().network((3, 8, 8), 10), nf_residual=True).eval()
    blocks = [part for part in model.modules() if isinstance(part, NormaliserFreeBlock)]
    assert len(blocks) == 9
    assert not any(isinstance(part, BasicBlock) for part in model.modules())
    hidden = torch.randn(2, 16, 8, 8)
    assert torch.equal(blocks[0](hidden), hidden)
    # The padded shortcuts have no convolution, so the expected variance grows throughout.
    assert [block.beta**2 for block in blocks] == pytest.approx(
        [1 + ALPHA**2 * index for index in range(9)]
    )


@pytest.mark.slow_except("resnet18")
@pytest.mark.parametrize("network", [resnet18, resnet50])
def test_normaliser_free_blocks_predict_their_variance(network):
    torch.manual_seed(0)
    model = without_normalisation(network(), nf_residual=True)
    blocks = [part for part in model.modules() if isinstance(part, NormaliserFreeBlock)]
    assert [block.beta**2 for block in blocks[:2]] == pytest.approx([1, 1 + ALPHA**2])
    observed = []
    for block in blocks:
        nn.init.ones_(block.skip_gain)
        block.register_forward_pre_hook(
            lambda block, inputs: observed.append(float(inputs[0].std() / RELU_GAIN / block.beta))
        )
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
    behind_a_transition = observed[1 + next(i for i, b in enumerate(blocks) if b.projects) :]
    assert len(behind_a_transition) >= 5
    assert all(0.8 < ratio < 1.25 for ratio in behind_a_transition), observed


def test_normaliser_free_blocks_train():
    torch.manual_seed(0)
    model = without_normalisation(ResNet20().network((3, 8, 8), 10), nf_residual=True)
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
    nn.functional.cross_entropy(model(images), labels).backward()
    gains = [parameter for name, parameter in model.named_parameters() if "skip_gain" in name]
    assert all(gain.grad != 0 for gain in gains)


def test_normaliser_free_blocks_need_residual_blocks():
    with pytest.raises(InputError, match="nf_residual needs a network of residual blocks"):
        without_normalisation(DigitsCNN().network((3, 8, 8), 10), nf_residual=True)


def test_the_worked_example_of_clipping():
    weights = {"w": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}
    gradients = {"w": torch.tensor([[0.6, 0.8], [0.3, 0.4]])}
    clipped = adaptive_gradient_clip(weights, gradients, clipping=0.1)
    expected = torch.tensor([[0.3, 0.4], [6e-5, 8e-5]])
    torch.testing.assert_close(clipped["w"], expected)
    assert gradients["w"][0].tolist() == pytest.approx([0.6, 0.8])  # the input is left alone


def test_small_gradients_and_skipped_names_pass_unchanged():
    weights = {"a": torch.ones(2, 3), "b": torch.ones(2, 3), "zero": torch.ones(3)}
    gradients = {
        "a": torch.full((2, 3), 1e-3),
        "b": torch.full((2, 3), 10.0),
        "zero": torch.zeros(3),
    }
    clipped = adaptive_gradient_clip(weights, gradients, clipping=0.01, skip=("b",))
    assert all(torch.equal(clipped[name], gradients[name]) for name in gradients)


def test_units_are_output_channels_rows_whole_vectors_and_scalars():
    torch.manual_seed(0)
    shapes = {"conv": (4, 2, 3, 3), "dense": (5, 6), "bias": (7,), "gain": ()}
    weights = {name: torch.randn(shape).double() for name, shape in shapes.items()}
    gradients = {name: 100 * torch.randn(shape).double() for name, shape in shapes.items()}
    clipped = adaptive_gradient_clip(weights, gradients, clipping=0.25)
    for name in ("conv", "dense"):
        ratio = clipped[name].flatten(1).norm(dim=1) / weights[name].flatten(1).norm(dim=1)
        torch.testing.assert_close(ratio, torch.full_like(ratio, 0.25))
    for name in ("bias", "gain"):
        ratio = clipped[name].norm() / weights[name].norm()
        torch.testing.assert_close(ratio, torch.full_like(ratio, 0.25))
    torch.testing.assert_close(
        nn.functional.normalize(clipped["bias"], dim=0),
        nn.functional.normalize(gradients["bias"], dim=0),
    )


def test_clipping_many_clients_at_once_equals_one_by_one():
    torch.manual_seed(0)
    weights = {"w": torch.randn(3, 4, 5), "b": torch.randn(3, 4), "s": torch.randn(3)}
    gradients = {name: torch.randn_like(tensor) for name, tensor in weights.items()}
    together = vmap(lambda w, g: adaptive_gradient_clip(w, g, 0.3))(weights, gradients)
    for client in range(3):
        alone = adaptive_gradient_clip(
            {name: tensor[client] for name, tensor in weights.items()},
            {name: tensor[client] for name, tensor in gradients.items()},
            0.3,
        )
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name][client], tensor)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (DigitsCNN().network((3, 4, 4), 10), ("fc3.weight", "fc3.bias")),
        (resnet18(), ("fc.weight", "fc.bias")),
        (MLP(hidden=(4, 4)).network((3,), 2), ("5.weight", "5.bias")),
        (nn.Linear(2, 2, bias=False), ("weight",)),
        (nn.Conv2d(1, 1, 1), ()),
    ],
)
def test_the_final_dense_layer_is_found(model, names):
    head = find_head(model)
    assert (head.names if head else ()) == names


def test_standardised_networks_run_for_many_clients_at_once():
    torch.manual_seed(0)
    model = without_normalisation(ResNet20().network((3, 8, 8), 10), nf_residual=True).double()
    state = {name: torch.stack([t.detach()] * 2) for name, t in model.named_parameters()}
    for tensor in state.values():
        tensor[1] += 0.1
    images = torch.randn(2, 3, 3, 8, 8, dtype=torch.float64)
    together = vmap(lambda state, batch: functional_call(model, state, (batch,)))(state, images)
    for client in range(2):
        own = {name: tensor[client] for name, tensor in state.items()}
        torch.testing.assert_close(together[client], functional_call(model, own, (images[client],)))


@pytest.mark.parametrize(
    "computed",
    [
        nn.utils.spectral_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.weight_norm,
    ],
)
def test_a_weight_that_is_computed_in_every_pass_is_refused(
    computed: Callable[[nn.Module], nn.Module],
) -> None:
    model = nn.Sequential(computed(nn.Conv2d(2, 3, 3)), nn.BatchNorm2d(3), nn.ReLU())
    with pytest.raises(InputError, match="is computed anew in every pass"):
        without_normalisation(model)
