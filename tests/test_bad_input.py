"""Whatever is wrong with a scenario or its data is said in one line, at once, and nothing is left.

Every case is a command line over real files. The line must name the file, the key, the value and
the remedy; the cases of `CHEAP` must be refused before any data are read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from fedlab import cli

TEXT = """\
name: shots
rounds: 2
data:
  sources:
    - {name: image_folder, path: shots}
partition:
  clients: 4
  labels: {name: dirichlet, alpha: 0.5}
model: {name: small_cnn, widths: [4, 4, 4]}
strategy: fedavg
training: {batch_size: 8}
"""
TABLES = "data.sources=[{name: csv, files: {north: north.csv, south: south.csv}}]"
ONE_TABLE = "data.sources=[{name: csv, files: {north: odd.csv}}]"
ARCHIVE = "data.sources=[{name: npz, path: odd.npz}]"


class Case(NamedTuple):
    """A mistake: what is written instead of what, the overrides, and what the line must say."""

    id: str
    words: list[str]
    old: str = ""
    new: str = ""
    overrides: list[str] = []  # noqa: RUF012 - never changed
    prepare: Callable[[Path], object] = lambda folder: None


def write(name: str, content: bytes | str) -> Callable[[Path], object]:
    """A step that puts a file below the folder of the test."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def truncate(name: str) -> Callable[[Path], object]:
    """A step that cuts a file to its first half."""
    return lambda folder: (folder / name).write_bytes(
        (whole := (folder / name).read_bytes())[: len(whole) // 2]
    )


CHEAP = [
    Case("unknown key", ["shots.yaml:2: ronds: 2: unknown", "'rounds'?"], "rounds:", "ronds:"),
    Case(
        "unknown key in a block",
        ["shots.yaml:11: training.batchsize: 8: unknown key; did you mean 'batch_size'?"],
        "batch_size",
        "batchsize",
    ),
    Case(
        "wrong type",
        ["shots.yaml:2: rounds: two: must be a valid integer"],
        "rounds: 2",
        "rounds: two",
    ),
    Case(
        "value instead of a block",
        ["shots.yaml:11: training: 8: must be a block with the keys local_epochs, "],
        "{batch_size: 8}",
        "8",
    ),
    Case(
        "unknown strategy",
        ["shots.yaml:10: strategy: there is no strategy 'fedbm'; did you mean 'fedbn'?"],
        "fedavg",
        "fedbm",
    ),
    Case(
        "alpha of zero",
        ["shots.yaml:8: partition.labels.alpha: 0: must be greater than 0"],
        "alpha: 0.5",
        "alpha: 0",
    ),
    Case(
        "missing alpha",
        ["shots.yaml:8: partition.labels.alpha: is missing; write it"],
        ", alpha: 0.5",
    ),
    Case(
        "no clients",
        ["shots.yaml:7: partition.clients: 0: must be greater than 0"],
        "clients: 4",
        "clients: 0",
    ),
    Case(
        "fraction of no client",
        ["shots.yaml: participation.fraction 0.1 of 4 clients samples no client; use at least 0."],
        overrides=["participation.fraction=0.1"],
    ),
    Case(
        "evaluation of no client",
        [
            "shots.yaml: evaluation.fraction 0.1 of 4 clients samples no client; use at",
            "0.25, or 0",
        ],
        overrides=["evaluation.fraction=0.1"],
    ),
    Case(
        "GPUs that are not there",
        ["resources.gpus_per_actor: 1 asked for", "no GPU", "set resources.gpus_per_actor=0"],
        overrides=["resources.gpus_per_actor=1"],
    ),
    Case(
        "more actors than CPUs",
        ["resources.actors: 9999 actors of 1 CPU and 0 GPU do not fit", "use at most"],
        overrides=["resources.actors=9999"],
    ),
    Case(
        "YAML syntax",
        ["shots.yaml:12: expected ',' or '}'", "look for a wrong indent, quote or bracket"],
        "{batch_size: 8}",
        "{batch_size: 8",
    ),
    Case("YAML tab", ["shots.yaml:7: found character '\\t'"], "  clients", "\tclients"),
    Case(
        "key twice",
        ["shots.yaml:3: the key 'rounds' stands here a second time (first in line 2); keep one"],
        "rounds: 2",
        "rounds: 2\nrounds: 3",
    ),
    Case("empty file", ["shots.yaml: holds no scenario; start from `fedlab copy"], TEXT),
    Case(
        "unknown override",
        ["override: training.batchsize: 3: unknown key; did you mean 'batch_size'?"],
        overrides=["training.batchsize=3"],
    ),
    Case(
        "override of an unknown block",
        ["override: trainig: unknown key; did you mean 'training'?"],
        overrides=["trainig.batch_size=3"],
    ),
    Case(
        "override in an unknown block of a block that is there",
        ["override: training.optimiser: unknown key; did you mean 'optimizer'?"],
        overrides=["training.optimiser.lr=3"],
    ),
    Case(
        "momentum for Adam",
        ["training.optimizer: ", "momentum 0.9 is for sgd, and adam would ignore it"],
        overrides=["training.optimizer.name=adam", "training.optimizer.momentum=0.9"],
    ),
    Case(
        "Nesterov's form of no momentum",
        ["training.optimizer: ", "nesterov is a form of momentum, and momentum is 0"],
        overrides=["training.optimizer.nesterov=true"],
    ),
    Case(
        "betas for SGD",
        ["training.optimizer: ", "betas (0.5, 0.9) are for adam and adamw"],
        overrides=["training.optimizer.betas=[0.5, 0.9]"],
    ),
    Case(
        "betas that never fade",
        ["training.optimizer.betas.1: 1: must be less than 1"],
        overrides=["training.optimizer={name: adam, betas: [0.9, 1]}"],
    ),
    Case(
        "override without a value",
        ["override 'rounds': is not of the form key=value; write for example strategy.name=fedbn"],
        overrides=["rounds"],
    ),
    Case(
        "component that is not there",
        ["shots.yaml:10: strategy: the strategy 'mine:Method' cannot be imported", "'mine'; mend"],
        "fedavg",
        "mine:Method",
    ),
    Case(
        "component that fails",
        ["override: model: the model 'mine:Net' cannot be imported: ZeroDivisionError", "; mend"],
        overrides=["model=mine:Net"],
        prepare=write("mine.py", "1 / 0\n"),
    ),
    Case(
        "component with a syntax error",
        ["data.sources.0: the source 'mine:Photos' cannot be imported: SyntaxError", "; mend"],
        overrides=["data.sources.0=mine:Photos"],
        prepare=write("mine.py", "def f(:\n"),
    ),
    Case(
        "component of another kind",
        ["override: model: 'mine:Net' cannot stand here", "subclass of fedlab.models.spec"],
        overrides=["model=mine:Net"],
        prepare=write("mine.py", "class Net: ...\n"),
    ),
    Case(
        "client trainer that is not there",
        ["strategy.client: the client 'mine:Half' cannot be imported: No module named 'mine'; m"],
        overrides=["strategy.client=mine:Half"],
    ),
    Case(
        "unknown client trainer",
        ["strategy.client: there is no client 'fedbm'; did you mean 'fedbn'?"],
        overrides=["strategy.client=fedbm"],
    ),
    Case(
        "client trainer of another kind",
        ["strategy.client: 'mine:Half' is no subclass of fedlab.clients.ClientTrainer; name"],
        overrides=["strategy.client=mine:Half"],
        prepare=write("mine.py", "class Half: ...\n"),
    ),
    Case(
        "parameters without a strategy",
        ["strategy.name: 'mine:Knobs' is no subclass of fedlab.strategies.Strategy; name"],
        overrides=["strategy={name: mine:Knobs, client: fedavg}"],
        prepare=write(
            "mine.py",
            "from fedlab.strategies.parameters import StrategyParameters\n"
            "class Knobs(StrategyParameters): ...\n",
        ),
    ),
    Case(
        "folder that is used",
        ["the folder 'mine' is not empty; choose another with --out"],
        overrides=["--out", "mine"],
        prepare=lambda folder: ((folder / "mine").mkdir(), (folder / "mine" / "a").touch()),
    ),
    Case(
        "folder of another run",
        ["the folder 'mine' holds a run that has not finished; go on with `fedlab resume mine`, d"],
        overrides=["--out", "mine"],
        prepare=lambda folder: ((folder / "mine").mkdir(), (folder / "mine/scenario.yaml").touch()),
    ),
    Case(
        "folder that is a file",
        ["'shots.yaml' is a file; choose a folder with --out"],
        overrides=["--out", "shots.yaml"],
    ),
    Case(
        "cluster that does not answer",
        ["resources.address: there is no Ray cluster at '127.0.0.1:1' (", "`ray start --head`"],
        overrides=["resources.address='127.0.0.1:1'"],
    ),
]

AFTER_DATA = [
    Case(
        "missing folder",
        ["data.sources.0.path: there is no folder", "/data/shotz'; correct the path, or data.root"],
        "path: shots",
        "path: shotz",
    ),
    Case(
        "empty class",
        ["data.sources.0.path: the class folder", "/lab/jar' has no image of", "; add some"],
        prepare=lambda folder: (folder / "data/shots/lab/jar").mkdir(),
    ),
    Case(
        "image that is none",
        ["data.sources.0.path: the image", "/lab/mug/3.png' cannot be decoded (damaged, ", "; rep"],
        prepare=write("data/shots/lab/mug/3.png", "no image"),
    ),
    Case(
        "truncated image",
        ["data.sources.0.path: the image", "/lab/mug/3.png' cannot be decoded (", "; replace the"],
        prepare=truncate("data/shots/lab/mug/3.png"),
    ),
    Case(
        "more shards than samples",
        ["partition.labels.per_client: 50 shards for each of 2 clients", "16", "use fewer shards"],
        overrides=["partition.labels={name: shards, per_client: 50}"],
    ),
    Case(
        "more clients than samples",
        ["partition.clients: 33 clients need at least 33", "there are 32; use fewer clients"],
        overrides=["partition.clients=33"],
    ),
    Case(
        "images too small",
        ["model 'alexnet' needs images of at least 63x63", "28x28; raise data.image_size or"],
        overrides=["model=alexnet"],
    ),
    Case(
        "features for a convolution",
        ["model 'small_cnn' takes images", "shape (2,); choose 'linear' or 'mlp'"],
        overrides=[TABLES],
    ),
    Case(
        "FedBN with a network that never has normalisation",
        ["'linear' with norm 'batch' has none; use a model that has some, such as small_cnn"],
        overrides=["strategy=fedbn", "model=linear"],
    ),
    Case(
        "a strategy of Flower's that counts by examples, configured otherwise",
        ["strategy.weighting: 'flwr:FedAvg' counts clients by their examples"],
        overrides=["strategy=flwr:FedAvg", "strategy.weighting=uniform"],
    ),
    Case(
        "FedBN with a network that has none, which model.norm would not change",
        ["'mlp' with norm 'none' has none; use a model that has some, such as small_cnn for"],
        overrides=["strategy=fedbn", "model={name: mlp, norm: none}"],
    ),
    Case(
        "FedBN without normalisation",
        ["strategy.name: fedbn", "'small_cnn' with norm 'none' has none; use model.norm=batch, or"],
        overrides=["strategy=fedbn", "model.norm=none"],
    ),
    Case(
        "batches of one sample",
        ["training.batch_size: batches of 1", "'small_cnn' has batch normalisation; use 2 or more"],
        overrides=["training.batch_size=1"],
    ),
    Case(
        "unknown domain",
        ["data.domains names 'labb', which no source yields; did you mean 'lab'?"],
        overrides=["data.domains=[labb]"],
    ),
    Case(
        "unknown unseen domain",
        ["data.unseen_domains names 'wob', which no source yields; did you mean 'web'?"],
        overrides=["data.unseen_domains=[wob]"],
    ),
    Case(
        "missing archive",
        ["data.sources.0.path: '", "/data/odd.npz' does not exist; correct the path"],
        overrides=[ARCHIVE],
    ),
    Case(
        "damaged archive",
        ["data.sources.0.path: '", "/data/odd.npz' cannot be read as a .npz file (d", "; save it"],
        overrides=[ARCHIVE],
        prepare=write("data/odd.npz", "nonsense"),
    ),
    Case(
        "truncated archive",
        ["data.sources.0.path: '", "/data/odd.npz' cannot be read as a .npz file (d", "; save it"],
        overrides=[ARCHIVE],
        prepare=lambda folder: (
            np.savez(folder / "data/odd.npz", x_train=np.zeros((9, 2)), y_train=np.arange(9)),
            truncate("data/odd.npz")(folder),
        ),
    ),
    Case(
        "array of another name",
        ["odd.npz' has no array 'x_train', only x; set data.sources.0.x_train to the array that"],
        overrides=[ARCHIVE],
        prepare=lambda folder: np.savez(folder / "data/odd.npz", x=np.zeros((9, 2))),
    ),
    Case(
        "text in a table",
        ["data.sources.0.files.north: '", "odd.csv' has 'x' in line 3, b, which is not a number;"],
        overrides=[ONE_TABLE],
        prepare=write("data/odd.csv", "a,b,sick\n1,2,0\n1,x,1\n"),
    ),
    Case(
        "table that is no text",
        ["data.sources.0.files.north: '", "odd.csv' cannot be read as a CSV file (", "UTF-8 text"],
        overrides=[ONE_TABLE],
        prepare=write("data/odd.csv", b"\xff\xfe\x00a,b"),
    ),
    Case(
        "one class",
        ["data.sources: all samples have the label '4'", "nothing to learn; check where"],
        overrides=[ONE_TABLE],
        prepare=write("data/odd.csv", "1,4\n2,4\n3,4\n" * 9),
    ),
    Case(
        "classes of one sample",
        ["partition: no client trains on a class that the test split has", "; check the labels"],
        overrides=[ARCHIVE, "partition={clients: 2}", "model=linear"],
        prepare=lambda folder: np.savez(
            folder / "data/odd.npz", x_train=np.zeros((9, 2)), y_train=np.arange(9)
        ),
    ),
    Case(
        "download that is not allowed",
        ["data.sources.0: MNIST is missing", "/data/MNIST/raw/", "or set data.download=true"],
        overrides=["data.sources=[{name: torchvision, dataset: MNIST}]"],
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images and tables; there is no GPU, and Ray must not start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr("fedlab.engine.ray.cluster.ANSWER_SECONDS", 0.3)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    random = np.random.default_rng(0)
    for domain in ("lab", "web"):
        for name in ("mug", "bike"):
            own = tmp_path / "data" / "shots" / domain / name
            own.mkdir(parents=True)
            for index in range(10):
                pixels = random.integers(0, 256, (12, 16, 3), np.uint8)
                Image.fromarray(pixels).save(own / f"{index}.png")
    for domain in ("north", "south"):
        rows = [f"{a:.3f},{b:.3f},{a > b:d}\n" for a, b in random.normal(size=(40, 2))]
        (tmp_path / "data" / f"{domain}.csv").write_text("a,b,sick\n" + "".join(rows))
    return tmp_path


@pytest.fixture
def error_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command that must be refused, and gives the one line that it says."""

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["fedlab", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        error = capsys.readouterr().err
        assert ended.value.code == 2, error
        assert error.startswith("error: ")
        assert error.count("\n") == 1, error
        return error.removeprefix("error: ")

    return call


def refused(case: Case, folder: Path, error_line: Callable[..., str]) -> None:
    """Makes the mistake and holds what is said, and what is left, against what should be."""
    assert not case.old or case.old in TEXT
    (folder / "shots.yaml").write_text(TEXT.replace(case.old, case.new) if case.old else TEXT)
    case.prepare(folder)
    before = {path for path in folder.rglob("*") if "cache" not in path.name}
    line = error_line("simulate", "shots.yaml", *case.overrides)
    for words in case.words:
        assert words in line
    left = {path for path in folder.rglob("*") if "cache" not in str(path)} - before
    assert not left, "nothing is left behind"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rounds=true", ["rounds: true", "is no number"]),
        ("rounds=1_0", ["rounds", "'1_0' is a text and no number"]),
        ("training.batch_size=9223372036854775808", ["training.batch_size", "has 19 digits"]),
        ("participation.timeout=.inf", ["participation.timeout", "no finite number"]),
        ("participation.min_replies=5", ["min_replies 5 are more than the 4 clients"]),
        ("participation.fraction=true", ["participation.fraction", "is no number"]),
        ("training.optimizer.lr=1e308", ["training.optimizer.lr", "no number that networks can"]),
        ("partition.labels.alpha=.inf", ["partition.labels.alpha", "no finite number"]),
        ("partition.labels.alpha=1e-320", ["partition.labels.alpha", "no number that networks"]),
        ("training.optimizer={name: adam, betas: [.nan, 0.9]}", ["betas", "no finite number"]),
        ("name=" + "n" * 5000, ["name", "characters"]),
        ('data.root="a\\0b"', ["data.root", "has a NUL character"]),
        ("seed=" + "7" * 300, ["seed", "has 300 digits"]),
        ("resources.cpus_per_actor=1000", ["resources", "does not fit"]),
        ("output.checkpoint_every=1.5", ["output.checkpoint_every"]),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    override: str, words: list[str], folder: Path, error_line: Callable[..., str]
) -> None:
    (folder / "shots.yaml").write_text(TEXT)
    line = error_line("simulate", "shots.yaml", "resources.backend=local", override)
    assert len(line) < 600
    for word in words:
        assert word in line


@pytest.mark.parametrize("case", CHEAP, ids=lambda case: case.id)
def test_a_mistake_is_reported_before_any_data_are_read(
    case: Case, folder: Path, error_line: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedlab.preparation.divide", lambda *_: pytest.fail("data were loaded"))
    refused(case, folder, error_line)


@pytest.mark.parametrize("case", AFTER_DATA, ids=lambda case: case.id)
def test_a_mistake_that_only_the_data_show_is_reported_before_anything_starts(
    case: Case, folder: Path, error_line: Callable[..., str]
) -> None:
    refused(case, folder, error_line)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["simulate", "domain_skeww"],
            "there is no scenario 'domain_skeww'; did you mean 'domain_",
        ),
        (["simulate", "gone.yaml"], "there is no file 'gone.yaml'; check the path, or see `fedlab"),
        (["simulate", "data"], "'data' is a folder; name the scenario file in it"),
        (["resume", "runs/gone"], "the folder 'runs/gone' is not there; name a folder that"),
        (["resume", "data"], "the folder 'data' holds no run (no scenario.yaml); name a folder"),
    ],
)
def test_what_is_missing_is_reported(
    words: list[str], message: str, error_line: Callable[..., str]
) -> None:
    assert message in error_line(*words)


def test_a_partition_is_shown_without_the_hardware_that_the_run_asks_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "shots.yaml").write_text(TEXT + "resources: {gpus_per_actor: 1, actors: 500}\n")
    monkeypatch.setattr(sys, "argv", ["fedlab", "partition", "shots.yaml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "lab" in capsys.readouterr().out


def test_one_line_for_each_problem_of_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "shots.yaml").write_text(TEXT.replace("rounds: 2", "ronds: 2\nseed: -1"))
    monkeypatch.setattr(sys, "argv", ["fedlab", "simulate", "shots.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == ["shots.yaml:2", "shots.yaml:3"]
    assert all(line.startswith("error: ") for line in lines)


def test_a_key_written_as_an_option_is_refused_with_its_form(
    error_line: Callable[..., str],
) -> None:
    for words in (("--rounds=3",), ("--rounds", "3")):
        line = error_line("simulate", "smoke", *words)
        assert line.startswith("simulate has no option --rounds; keys of the scenario are written")
        assert "rounds=VALUE" in line


def test_a_misspelt_part_is_refused_with_the_nearest_name(error_line: Callable[..., str]) -> None:
    assert "did you mean 'fedbn'?" in error_line("show", "fedbm")
    assert "did you mean 'domain_skew'?" in error_line("show", "domain_skw")
