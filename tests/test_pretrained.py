"""Networks that start from trained weights, and parts of them that stay as they are."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import nn

from fedlab import flower_compat, simulate
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.handshake import INVITE, DeviceInfo
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError
from fedlab.export.export_run import export_run
from fedlab.features.efficientnet_lite import EfficientNetLite0Features
from fedlab.models import efficientnet
from fedlab.models.anatomy import anatomy_of
from fedlab.models.build import build_model
from fedlab.models.efficientnet import imagenet_network, pretrained_weights
from fedlab.models.pretrained.transfer import transfer_of
from fedlab.models.spec import ModelSpec
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.scenario_file import load_scenario
from fedlab.simulation import resume
from fedlab.strategies.parameters import StrategyParameters
from fedlab.tensor_files import write_tensors
from helpers.four_domains import write_four
from helpers.plain_pytorch import round_of_fedavg
from helpers.running import on, result
from helpers.toy import scenario

PLAIN = StrategyParameters(name="fedavg")
CNN = {"name": "small_cnn", "widths": [4, 4, 8]}
STRIPES = {"sources": [{"name": "helpers.toy:Stripes", "train": 8, "test": 4}], "image_size": 32}
LITE = {"name": "efficientnet_lite0", "weights": "pretrained"}


def build(block: dict[str, Any], classes: int = 4, shape: tuple[int, ...] = (3, 8, 8)) -> nn.Module:
    return build_model(ModelSpec.choose(block), PLAIN, shape, classes, seed=0)


def run_of(folder: Path, **fields: Any) -> Run:
    return simulate(scenario(**fields), out=folder, progress=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose network others start from."""
    return run_of(tmp_path_factory.mktemp("base") / "run", model=CNN)


# ---------------------------------------------------------------------- EfficientNet-Lite0


@torch.inference_mode()
def test_efficientnet_lite0_has_the_features_of_the_published_network() -> None:
    """Values of the package `efficientnet-lite-pytorch`, which this one equals to the last bit."""
    inputs = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
    model = imagenet_network()
    features = model.features(inputs)[0]
    assert float(features.norm()) == pytest.approx(10.85833, abs=1e-4)
    assert float(features.mean()) == pytest.approx(0.0572053, abs=1e-6)
    assert features[[9, 23, 29]].tolist() == pytest.approx([0.18483, 0.75506, 1.22641], abs=1e-4)
    assert int(model(inputs).argmax()) == 701


@pytest.mark.parametrize(("picture", "place"), [("china.jpg", 698), ("flower.jpg", 985)])
@torch.inference_mode()
def test_photographs_are_what_they_show(picture: str, place: int) -> None:
    """A palace and a daisy among ImageNet's thousand classes."""
    image = torch.from_numpy(load_sample_image(picture).copy()).permute(2, 0, 1)
    inputs = EfficientNetLite0Features().prepare(image[None])
    chances = imagenet_network()(inputs).softmax(dim=1)[0]
    assert int(chances.argmax()) == place
    assert float(chances[place]) > 0.3


@pytest.mark.slow
def test_its_features_take_the_place_of_images(tmp_path: Path) -> None:
    features = {"name": "efficientnet_lite0", "size": 32}
    run = run_of(tmp_path / "run", data=STRIPES | {"features": features}, model="linear")
    assert run.model_state()["1.weight"].shape == (4, 1280)
    assert export_run(run, "pt2").comparison.same == 1


@pytest.mark.slow
def test_pretrained_weights_are_all_taken_except_for_the_head(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        model = prepare(scenario(data=STRIPES, model=LITE)).model
    state, weights = model.state_dict(), pretrained_weights()
    assert state.keys() == weights.keys()
    other = {name for name in state if not torch.equal(state[name], weights[name])}
    assert other == {"_fc.weight", "_fc.bias"}
    assert "a new head (_fc.weight, _fc.bias)" in caplog.text
    whole = build(LITE, classes=1000, shape=(3, 32, 32)).state_dict()
    assert torch.equal(whole["_fc.weight"], weights["_fc.weight"])
    random = build(LITE | {"weights": "none"}, shape=(1, 32, 32)).state_dict()
    assert random["_conv_stem.weight"].shape == (32, 1, 3, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data": STRIPES | {"normalisation": {"mean": 0.0, "std": 1.0}}, "model": LITE},
            "want images with mean 0.498 and std 0.502",
        ),
        ({"data": STRIPES | {"channels": 1}, "model": LITE}, "set data.channels=3"),
        ({"data": STRIPES | {"image_size": 24}, "model": LITE}, "at least 32x32"),
        ({"model": CNN | {"weights": "pretrained"}}, "no pretrained weights of model 'small_cnn'"),
        (
            {
                "data": STRIPES | {"image_size": 24, "features": "efficientnet_lite0"},
                "model": "linear",
            },
            "24x24 pixels show it too little",
        ),
    ],
)
def test_inputs_that_pretrained_weights_do_not_know_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(scenario(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": LITE},
        {"data": STRIPES | {"features": "efficientnet_lite0"}, "model": "linear"},
    ],
)
def test_weights_that_are_missing_or_other_ones_are_refused(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = scenario(**{"data": STRIPES} | fields)
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "fedlab-sim\[pretrained\]"$'):
        prepare(asked)
    package = ModuleSpec("package", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    file = tmp_path / efficientnet.FILE
    file.parent.mkdir()
    torch.save({}, file)
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="is not that of the package"):
        prepare(asked)


# ------------------------------------------------------------------------------------ files


def test_a_network_starts_from_a_run(base: Run, caplog: Any) -> None:
    state = base.model_state()
    with caplog.at_level(logging.WARNING, "fedlab"):
        prepared = prepare(scenario(model=CNN | {"weights": str(base.folder)}))
    started = prepared.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in started.items())
    assert "small_cnn" not in caplog.text  # nothing to tell


@pytest.mark.parametrize("strict", [False, True])
def test_a_head_of_other_classes_starts_anew(base: Run, tmp_path: Path, strict: bool) -> None:
    weights = {"file": str(base.folder / "model.safetensors"), "strict": strict}
    model = build(CNN | {"weights": weights}, classes=7)
    plain, state = build(CNN, classes=7).state_dict(), base.model_state()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (plain if name.startswith("14.") else state)[name])
    found = transfer_of(model)
    assert found is not None
    assert found.new_head == ("14.weight", "14.bias")
    assert not found.missing
    assert not found.unused


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
def test_files_of_other_programs_are_read(base: Run, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"weights{ending}"
    state = {f"module.{name}": tensor for name, tensor in base.model_state().items()}
    if ending == ".safetensors":
        save_file(state, file, metadata={"format": "pt"})
    else:
        torch.save({"epoch": 3, "state_dict": state} if ending == ".pth" else state, file)
    with pytest.raises(InputError, match=r"set model\.weights\.prefix to 'module\.', or"):
        build(CNN | {"weights": str(file)})
    model = build(CNN | {"weights": {"file": file, "prefix": "module.", "strict": True}})
    assert torch.equal(model.state_dict()["0.weight"], base.model_state()["0.weight"])


def test_what_has_no_counterpart_is_logged_or_refused(
    base: Run, tmp_path: Path, caplog: Any
) -> None:
    state = base.model_state()
    del state["4.weight"]
    file = tmp_path / "part.safetensors"
    save_file(state | {"decoder.weight": torch.zeros(2)}, file)
    with caplog.at_level(logging.WARNING, "fedlab"):
        prepare(scenario(model=CNN | {"weights": str(file)}))
    assert "not in it, and new: 1 tensor (4.weight)" in caplog.text
    assert "not used of it: 1 tensor (decoder.weight)" in caplog.text
    with pytest.raises(
        InputError, match=r"weights\.strict: .*decoder\.weight.*strict: false, with"
    ):
        build(CNN | {"weights": {"file": str(file), "strict": True}})


def test_a_head_of_other_names_is_replaced_unless_names_are_strict(
    base: Run, tmp_path: Path
) -> None:
    state = base.model_state()
    own = {name.replace("14.", "fc."): tensor for name, tensor in state.items()}
    file = tmp_path / "renamed.safetensors"
    save_file(own, file)
    with pytest.raises(InputError, match=r"new: 2 tensors \(14\.weight, 14\.bias\).*strict: false"):
        build(CNN | {"weights": {"file": str(file), "strict": True}})
    model, plain = build(CNN | {"weights": {"file": str(file)}}), build(CNN)
    assert torch.equal(model.state_dict()["14.weight"], plain.state_dict()["14.weight"])
    assert torch.equal(model.state_dict()["0.weight"], state["0.weight"])


class Code:
    """An object of a pickle."""


@pytest.mark.parametrize(
    ("write", "name", "message"),
    [
        (lambda file: None, "weights.pt", r"the file '.*weights\.pt' is not there"),
        (lambda file: file.mkdir(), "run", "has no model.safetensors"),
        (lambda file: file.write_bytes(b"nothing"), "weights.pt", "is damaged"),
        (lambda file: file.write_bytes(b"nothing"), "weights.safetensors", "is damaged"),
        (lambda file: file.write_bytes(pickle.dumps(Code())), "weights.pth", "Python objects"),
        (lambda file: torch.save({"model": Code()}, file), "weights.pt", "Python objects"),
        (lambda file: torch.save([1, 2], file), "weights.pt", "no state dict"),
        (lambda file: torch.save({}, file), "weights.pt", "has no tensors"),
        (lambda file: file.write_bytes(b"1"), "weights.onnx", "ends in '.onnx'"),
        (
            lambda file: torch.save(nn.Linear(3, 4).state_dict(), file),
            "weights.pt",
            r"has none of the model's parameters: it has weight, bias and the model 0\.weight",
        ),
        (
            lambda file: torch.save({"0.weight": torch.zeros(4, 1, 3, 3)}, file),
            "weights.pt",
            r"'0\.weight' of .* has the shape \(4, 1, 3, 3\) and the model's \(4, 3, 3, 3\)",
        ),
        (
            lambda file: torch.save({"0.weight": torch.full((4, 3, 3, 3), torch.inf)}, file),
            "weights.pt",
            "not finite",
        ),
        (
            lambda file: torch.save(
                {"0.weight": torch.zeros(4, 3, 3, 3), "0.lora_b": torch.zeros(4, 2)}, file
            ),
            "weights.pt",
            "has adapters",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_a_line(
    tmp_path: Path, write: Callable[[Path], object], name: str, message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        build(CNN | {"weights": str(tmp_path / name)})
    assert "\n" not in str(caught.value)


def test_a_damaged_file_of_a_run_is_refused(base: Run, tmp_path: Path) -> None:
    content = bytearray((base.folder / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="its checksum is another"):
        build(CNN | {"weights": str(tmp_path)})


def test_a_run_goes_on_with_the_file_that_it_began_with_alone(base: Run, tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    shutil.copy(base.folder / "model.safetensors", file)
    model = CNN | {"weights": str(file), "freeze": ["0.*"]}
    run = run_of(tmp_path / "run", model=model)
    assert load_scenario(run.folder / "scenario.yaml").model == run.scenario.model
    state = base.model_state()
    write_tensors(file, {name: 2 * tensor for name, tensor in state.items()})
    with pytest.raises(InputError, match="is another file than the scenario was made with"):
        resume(run.folder, ["rounds=3"], progress=False)
    shutil.copy(base.folder / "model.safetensors", file)
    resumed = resume(run.folder, ["rounds=3"], progress=False)
    assert torch.equal(resumed.model_state()["0.weight"], state["0.weight"])


@pytest.mark.slow
def test_actors_start_from_the_same_file(base: Run, tmp_path: Path, ray_here: None) -> None:
    model = CNN | {"weights": str(base.folder), "freeze": "backbone"}
    runs = [
        run_of(tmp_path / backend, model=model, resources=on(backend))
        for backend in ("ray", "local")
    ]
    assert result(runs[0].folder) == result(runs[1].folder)
    assert torch.equal(runs[0].model_state()["0.weight"], base.model_state()["0.weight"])


def test_a_device_needs_the_servers_file(tmp_path: Path) -> None:
    flower_compat.assume_identity()
    file = tmp_path / "server.pt"
    torch.save(build(CNN, classes=6).state_dict(), file)
    model = CNN | {"weights": str(file), "freeze": "backbone"}
    asked = load_scenario(write_four(tmp_path), {"model": model, "strategy": "fedavg"})
    terms = setup_of(asked).invitation("run", asked)

    def look(weights: Path | None) -> DeviceInfo:
        data = tmp_path / "north.npz"
        device = Participant("north", data, None, tmp_path / "d", "cpu", 1, weights)
        message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
        reply = device.answer(flower_compat.stamp(message))
        assert reply is not None
        return DeviceInfo.of(reply.content)

    own = tmp_path / "own.pt"
    shutil.move(file, own)
    with pytest.raises(InputError, match="is not there"):
        look(None)
    assert look(own).name == "north"
    torch.save(build(CNN, classes=7).state_dict(), own)
    with pytest.raises(InputError, match="another file"):
        look(own)


# ----------------------------------------------------------------------------- what is frozen


def test_all_but_the_head_stays(base: Run, tmp_path: Path) -> None:
    model = CNN | {"weights": str(base.folder), "freeze": "backbone"}
    run = run_of(tmp_path / "run", model=model)
    before, after = base.model_state(), run.model_state()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"14.weight", "14.bias"}
    history = run.history
    up = history[(history["metric"] == "bytes_up") & (history["round"] == 1)]["value"].sum()
    head = before["14.weight"].numel() + before["14.bias"].numel()
    assert up == 3 * 4 * head
    assert anatomy_of(prepare(run.scenario).model).moving == ("14.weight", "14.bias")


def test_patterns_freeze_parameters_by_name() -> None:
    model = build(CNN | {"freeze": ["0.*", "1.*", "4.weight"]})
    frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
    assert frozen == ["0.weight", "1.weight", "1.bias", "4.weight"]
    model.train()
    still = [model.get_submodule(path).training for path in ("1", "5", "9")]
    assert still == [False, True, True]  # that whose scale and shift are frozen
    assert "1.running_mean" not in anatomy_of(model).moving


@pytest.mark.slow_except("backbone")
@pytest.mark.parametrize("freeze", ["backbone", ["0.*", "1.*"]])
def test_a_round_with_frozen_parts_is_that_of_plain_pytorch(tmp_path: Path, freeze: Any) -> None:
    training = {"batch_size": "full", "local_steps": 2, "optimizer": {"lr": 0.1}}
    fields = {"rounds": 1, "model": CNN | {"freeze": freeze}, "training": training}
    wanted = round_of_fedavg(scenario(**fields))
    ways = ("sequential", "vmap")
    for way in ways:
        run = run_of(tmp_path / way, **fields, engine={"execution": way})
        for name, tensor in run.model_state().items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CNN | {"freeze": ["stem.*"]}, r"'stem\.\*' matches no parameter; the model has 0\.weight"),
        (CNN | {"freeze": ["*"]}, "no parameter is left that learns"),
        ({"name": "linear", "freeze": "backbone"}, "consists of its head alone"),
    ],
)
def test_freezing_that_leaves_nothing_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(model)


# ----------------------------------------------------------------------- networks of one's own


def own_network(num_classes: int, weights: str = "mine") -> nn.Module:
    """Has an argument that is called like a key."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
    model.register_buffer("said", torch.tensor(len(weights)))
    return model


def test_a_users_argument_is_what_the_key_means() -> None:
    model = build({"name": "test_pretrained:own_network", "weights": "yours, or what"})
    assert int(model.get_buffer("said")) == len("yours, or what")


@pytest.mark.slow
def test_torchvisions_networks_start_from_files(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    theirs, file = squeezenet1_1(), tmp_path / "squeezenet.pth"
    torch.save(theirs.state_dict(), file)
    name = "torchvision.models:squeezenet1_1"
    with pytest.raises(InputError, match=r"'classifier\.1\.weight' of .* has the shape"):
        build({"name": name, "weights": str(file)}, shape=(3, 64, 64))
    same = build({"name": name, "weights": str(file)}, classes=1000, shape=(3, 64, 64))
    first = "features.0.weight"
    assert torch.equal(same.get_parameter(first), theirs.get_parameter(first))


def test_networks_of_timm_are_named_by_their_path() -> None:
    pytest.importorskip("timm")  # comes with the extra `clip`
    block = {"name": "timm.models:resnet10t", "freeze": "backbone"}
    model = build(block, shape=(3, 32, 32))
    assert anatomy_of(model).head == "fc"
    assert anatomy_of(model).learning == ("fc.weight", "fc.bias")
