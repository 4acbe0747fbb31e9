"""Every network that a scenario can name: sizes, shapes, equal bytes, many clients at once."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from fedlab.config import registry
from fedlab.data.ids import Ids
from fedlab.data.sample_shape import SampleShape, ids_in
from fedlab.errors import InputError
from fedlab.models.build import build_model
from fedlab.models.spec import ModelSpec
from fedlab.strategies.parameters import StrategyParameters

STRATEGY = StrategyParameters(name="fedavg")

# Network -> the smallest shape that is still interesting, so that the tests are quick.
SHAPES = {
    "linear": (7,),
    "mlp": (7,),
    "small_cnn": (1, 8, 8),
    "digits_cnn": (3, 8, 8),
    "alexnet": (3, 63, 63),
    "resnet10": (3, 8, 8),
    "resnet18": (3, 16, 16),
    "resnet20": (1, 12, 12),
    "mobilenet_v2": (3, 16, 16),
    "cnn1d": (2, 9),
    "cnn3d": (1, 8, 8, 8),
    "gru": SampleShape((5,), Ids(vocabulary=11, pad=0)),
    "lstm": (2, 5),
    "transformer": SampleShape((6,), Ids(vocabulary=11, pad=0)),
    "text_mean": SampleShape((4,), Ids(vocabulary=11)),
    "text_cnn": SampleShape((6,), Ids(vocabulary=11, pad=0)),
    "efficientnet_lite0": (3, 32, 32),
}


def samples(name: str, *leading: int) -> torch.Tensor:
    """Noise, or ids, for a network."""
    shape = SHAPES[name]
    if ids := ids_in(shape):
        return torch.randint(ids.vocabulary or 1, (*leading, *shape))
    return torch.randn(*leading, *shape)


def build(name, shape=None, classes=10, seed=0, strategy=STRATEGY, **parameters) -> nn.Module:
    spec = ModelSpec.choose({"name": name, **parameters})
    return build_model(spec, strategy, shape or SHAPES[name], classes, seed)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_registered_network_is_tested_here():
    assert {*SHAPES, "per_client"} == set(registry.BUILTIN["models"])


@pytest.mark.slow_for("alexnet", "resnet18", "mobilenet_v2", "efficientnet_lite0")
@pytest.mark.parametrize("name", SHAPES)
def test_a_sample_becomes_one_number_per_class(name):
    model = build(name, classes=3).eval()
    assert model(samples(name, 2)).shape == (2, 3)


@pytest.mark.slow_for("resnet18", "mobilenet_v2", "efficientnet_lite0")
@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("linear", (3, 4, 4), 48 * 10 + 10),
        ("mlp", (20,), 20 * 128 + 128 + 128 * 10 + 10),
        ("small_cnn", (3, 28, 28), 83_626),
        ("digits_cnn", (3, 28, 28), 14_219_210),
        ("resnet10", (3, 32, 32), 4_903_242),  # FPL's count, without the layers that nothing reads
        ("resnet18", (3, 224, 224), 11_181_642),  # torchvision's count with 10 classes
        ("resnet20", (3, 32, 32), 269_722),
        ("mobilenet_v2", (3, 224, 224), 2_236_682),  # torchvision's count with 10 classes
        ("cnn1d", (3, 50), 3 * 8 * 32 + 32 * 5 * 64 + 64 * 3 * 64 + 2 * (32 + 64 + 64) + 650),
        ("gru", (3, 50), 3 * 64 * (3 + 64 + 2) + 650),
        ("lstm", (3, 50), 4 * 64 * (3 + 64 + 2) + 650),
        ("efficientnet_lite0", (3, 224, 224), 3_383_818),
    ],
)
def test_parameter_counts(name, shape, parameters):
    assert count(build(name, shape)) == parameters


@pytest.mark.slow
def test_resnet10_has_fpls_count_for_pacs_and_pytorchs_own_weights():
    model = build("resnet10", (3, 128, 128), classes=7)
    assert count(model) == 4_901_703
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [layer.stride[0] for layer in convolutions].count(2) == 6  # three blocks, with shortcuts
    for layer in convolutions:
        bound = layer.weight[0].numel() ** -0.5  # uniform
        assert 0.9 * bound < layer.weight.abs().max() <= bound


def test_alexnets_dense_layers_can_be_narrow():
    narrow = build("alexnet", (3, 63, 63), dense=16)
    # Those between 9216 pooled numbers and the classes, and two batch normalisations.
    dense = 9216 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10 + 2 * 2 * 16
    assert count(narrow) == 2_472_000 + dense


@pytest.mark.slow
def test_alexnet_takes_large_and_small_images_with_the_same_weights():
    model = build("alexnet", (3, 256, 256)).eval()
    assert count(model) == 57_063_498
    with torch.no_grad():
        assert model(torch.randn(1, 3, 256, 256)).shape == (1, 10)
        assert model(torch.randn(1, 3, 64, 80)).shape == (1, 10)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.slow
def test_the_stem_follows_the_image_size_unless_it_is_chosen(name):
    def first_stride(**parameters):
        model = build(name, **parameters)
        return next(part.stride for part in model.modules() if isinstance(part, nn.Conv2d))

    assert first_stride(shape=(3, 64, 64)) == (1, 1)
    assert first_stride(shape=(3, 65, 65)) == (2, 2)
    assert first_stride(shape=(3, 32, 32), stem="imagenet") == (2, 2)
    assert first_stride(shape=(3, 65, 65), stem="cifar") == (1, 1)


@pytest.mark.slow
def test_mobilenet_keeps_enough_resolution_for_small_images():
    model = build("mobilenet_v2", (3, 32, 32)).eval()
    assert model.features(torch.randn(1, 3, 32, 32)).shape == (1, 1280, 4, 4)


def test_the_padded_shortcut_of_resnet20_halves_and_widens():
    block = build("resnet20", (3, 8, 8)).get_submodule("stage2.0")
    shortcut = block.downsample(torch.ones(1, 16, 5, 5))
    assert shortcut.shape == (1, 32, 3, 3)
    assert shortcut[:, :16].eq(1).all()
    assert shortcut[:, 16:].eq(0).all()


@pytest.mark.parametrize("name", ["small_cnn", "digits_cnn", "alexnet", "resnet18", "resnet20"])
def test_tables_are_refused_by_convolutional_networks(name):
    with pytest.raises(InputError, match=r"takes images .* shape \(7,\); choose 'linear'"):
        build(name, (7,))


@pytest.mark.slow_for("alexnet")
@pytest.mark.parametrize(("name", "side"), [("small_cnn", 8), ("digits_cnn", 4), ("alexnet", 63)])
def test_images_may_be_as_small_as_promised_but_no_smaller(name, side):
    assert build(name, (3, side, side)).eval()(torch.randn(1, 3, side, side)).shape == (1, 10)
    with pytest.raises(InputError, match=f"at least {side}x{side} pixels"):
        build(name, (3, side - 1, side))


def test_widths_are_parameters():
    assert count(build("mlp", (4,), classes=2, hidden=[3, 5])) == 15 + 20 + 12
    narrow = build("small_cnn", (3, 8, 8), widths=[2, 4, 6])
    assert [part.out_channels for part in narrow.modules() if isinstance(part, nn.Conv2d)] == [
        2,
        4,
        6,
    ]


@pytest.mark.parametrize("name", ["small_cnn", "resnet20", "mobilenet_v2"])
@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_for_any_global_generator(name):
    torch.manual_seed(1)
    first = build(name)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = build(name)
    assert torch.equal(state, torch.manual_seed(1).get_state())  # the global state was not touched
    other = build(name, seed=1)
    for tensor, same in zip(first.parameters(), second.parameters(), strict=True):
        assert tensor.detach().numpy().tobytes() == same.detach().numpy().tobytes()
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.slow_for("resnet18")
@pytest.mark.parametrize(
    "name",
    [
        *("small_cnn", "digits_cnn", "resnet18"),
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
    ],
)
def test_the_choice_of_normalisation_leaves_other_initial_values_alone(name):
    def weights(norm):
        return {
            path: part.weight
            for path, part in build(name, norm=norm).named_modules()
            if isinstance(part, nn.Conv2d | nn.Linear)
        }

    batch = weights("batch")
    for norm in ("group", "layer", "none"):
        converted = weights(norm)
        assert converted.keys() == batch.keys()
        assert all(torch.equal(converted[path], batch[path]) for path in batch)


def test_the_strategy_has_the_last_word_on_the_network():
    class Widening(StrategyParameters):
        def adapt(self, model):
            return nn.Sequential(model, nn.Identity())

    model = build("linear", strategy=Widening(name="widening"))
    assert isinstance(model[1], nn.Identity)


def test_a_normalisation_that_cannot_be_had_is_refused():
    with pytest.raises(InputError, match=r"model\.norm 'group' cannot be had: model 'mlp'"):
        build("mlp", norm="group")


def stack(model: nn.Module, clients: int) -> tuple[dict, dict]:
    """A copy of parameters and buffers for each client, slightly apart."""
    torch.manual_seed(0)
    parameters = {
        name: torch.stack([tensor.detach() + 1e-3 * torch.randn_like(tensor)] * clients)
        for name, tensor in model.named_parameters()
    }
    for tensor in parameters.values():
        tensor *= torch.linspace(1, 1.1, clients).to(tensor).view(-1, *[1] * (tensor.ndim - 1))
    return parameters, {
        name: torch.stack([tensor.clone()] * clients) for name, tensor in model.named_buffers()
    }


def gradient_of(model: nn.Module):
    def loss(parameters, buffers, inputs, labels):
        outputs = functional_call(model, (parameters, buffers), (inputs,))
        return nn.functional.cross_entropy(outputs, labels)

    return grad(loss)


@pytest.mark.slow_for("resnet20-none", "resnet20-layer", "resnet20-batch")
@pytest.mark.parametrize("norm", ["batch", "group", "layer", "none"])
@pytest.mark.parametrize("name", ["small_cnn", "digits_cnn", "resnet20"])
def test_many_clients_at_once_get_the_gradients_of_each_alone(name, norm):
    model = build(name, norm=norm).double().train()
    parameters, buffers = stack(model, clients=2)
    inputs = torch.randn(2, 4, *SHAPES[name], dtype=torch.float64)
    labels = torch.randint(10, (2, 4))
    alone = [
        gradient_of(model)(
            {name: tensor[client] for name, tensor in parameters.items()},
            {name: tensor[client].clone() for name, tensor in buffers.items()},
            inputs[client],
            labels[client],
        )
        for client in range(2)
    ]
    together = vmap(gradient_of(model), randomness="different")(parameters, buffers, inputs, labels)
    for key, gradient in together.items():
        torch.testing.assert_close(gradient, torch.stack([client[key] for client in alone]))
    for key, tensor in buffers.items():
        if key.endswith("num_batches_tracked"):
            assert tensor.tolist() == [1, 1]


@pytest.mark.slow_for("resnet10", "resnet18", "resnet20", "mobilenet_v2", "efficientnet_lite0")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "alexnet" else ()) for name in SHAPES],
)
def test_every_network_trains_many_clients_at_once(name):
    model = build(name).train()
    parameters, buffers = stack(model, clients=2)
    inputs, labels = samples(name, 2, 2), torch.randint(10, (2, 2))
    gradients = vmap(gradient_of(model), randomness="different")(
        parameters, buffers, inputs, labels
    )
    assert gradients.keys() == parameters.keys()
    for key, gradient in gradients.items():
        assert gradient.shape == parameters[key].shape
        assert gradient.isfinite().all(), key
    assert any(not torch.equal(gradient[0], gradient[1]) for gradient in gradients.values())
    running = [tensor for key, tensor in buffers.items() if key.endswith("running_mean")]
    assert all(not torch.equal(mean[0], mean[1]) for mean in running)


def test_what_was_found_of_a_network_travels_to_those_that_train_it(monkeypatch):
    from fedlab.engine.local_grid import LocalGrid
    from fedlab.engine.start import start_grid
    from fedlab.models.anatomy import anatomy, anatomy_of
    from fedlab.preparation import prepare
    from helpers import toy

    prepared = prepare(toy.scenario())
    observed = anatomy_of(prepared.model).observed
    assert observed is not None

    def again(*_):
        raise AssertionError("the network was run once more")

    monkeypatch.setattr(anatomy, "observe", again)
    grid, _ = start_grid(prepared.scenario, prepared.data, prepared.partition, observed)
    assert isinstance(grid, LocalGrid)
    with grid:
        found = anatomy_of(grid.worker.runtime.trainer.task.model)
    assert found == anatomy_of(prepared.model)
