import importlib.metadata
import subprocess
import sys

import pytest

import fedlab
from fedlab import cli, simulation
from fedlab.config import builtin_scenarios
from fedlab.scenario_file import load_scenario
from helpers.tiny_scenario import TEXT, write_tiny


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return write_tiny(tmp_path)


def test_a_scenario_is_run_shown_and_kept(tiny, run, tmp_path):
    code, out, err = run("simulate", tiny, "training.optimizer.lr=0.1", "evaluation.every=2")
    assert (code, err) == (0, "")
    folder = tmp_path / "runs" / "tiny-fedprox-s0"
    lines = out.splitlines()
    (round_line,) = (line for line in lines if line.startswith("round "))
    assert round_line.startswith("round 2/2  accuracy 0.")
    assert " eta 0.0 s" in round_line
    for word in (
        "north",
        "south",
        "client models",
        "mean over examples",
        "worst client",
        "traffic",
    ):
        assert word in out
    finished = fedlab.load_run(folder)
    assert finished.finished
    assert finished.scenario.training.optimizer.lr == 0.1
    assert max(map(len, lines[1:-1])) <= 80

    code, out, _ = run("resume", folder)
    assert code == 0
    assert out.startswith("This run has finished already; more rounds make it longer")

    code, _, err = run("simulate", tiny)
    assert code == 2
    assert err.startswith(
        f"error: the folder '{folder}' holds a finished run; delete it, or choose"
    )


def test_out_names_the_folder_of_the_run(tiny, run, tmp_path):
    assert run("simulate", tiny, "--out", tmp_path / "here", "rounds=1")[0] == 0
    assert fedlab.load_run(tmp_path / "here").rounds == 1


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tiny, run, tmp_path, monkeypatch):
    def interrupted(prepared, folder, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation, "_run", interrupted)
    code, _, err = run("simulate", tiny)
    assert code == 130
    assert err == f"stopped; go on with: fedlab resume {tmp_path}/runs/tiny-fedprox-s0\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["simulate", "tinny.yaml"], "there is no file 'tinny.yaml'; check the path"),
        (["simulate", "tiny.yaml", "strategy=fedprx"], "did you mean 'fedprox'?"),
        (["simulate", "tiny.yaml", "data.sources.0.path=gone.npz"], "gone.npz"),
        (["resume", "."], "the folder '.' holds no run (no scenario.yaml); name a folder that"),
        (
            ["resume", "gone"],
            "the folder 'gone' is not there; name a folder that `fedlab simulate`",
        ),
        (["list", "strategy"], "there is no list 'strategy'; choose from scenarios, strategies"),
        (["show", "nothing"], "there is no scenario 'nothing'; "),
        (["copy", "nothing"], "there is no scenario 'nothing'; "),
        (
            ["partition", "tiny.yaml", "partition.clients=0"],
            "partition.clients: 0: must be greater",
        ),
    ],
)
def test_mistakes_end_with_code_2_and_one_line(tiny, run, words, message):
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_mistake_leaves_no_folder_behind(tiny, run, tmp_path):
    run("simulate", tiny, "data.sources.0.path=gone.npz")
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(tiny, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fedlab", "--debug", "show", str(tiny), "rounds=0"])
    with pytest.raises(fedlab.InputError):
        cli.main()


def test_validate_prints_all_problems_of_all_files(tiny, run, tmp_path):
    (tmp_path / "bad.yaml").write_text(TEXT.replace("rounds: 2", "ronds: 2\nseed: -1"))
    (tmp_path / "worse.yaml").write_text("name: [")
    code, out, err = run("validate", "bad.yaml", "tiny.yaml", "worse.yaml")
    assert code == 2
    assert out == "valid tiny.yaml\n"
    lines = sorted(line.split(": ")[1] for line in err.splitlines())
    assert lines == ["bad.yaml:3", "bad.yaml:4", "worse.yaml:1"]
    assert run("validate", "tiny.yaml") == (0, "valid tiny.yaml\n", "")


def test_shown_scenarios_can_be_loaded(tiny, run, tmp_path):
    code, out, _ = run("show", "tiny.yaml", "seed=3")
    assert code == 0
    (tmp_path / "shown.yaml").write_text(out)
    assert load_scenario("shown.yaml") == load_scenario("tiny.yaml", ["seed=3"])


def test_parts_are_shown_with_their_parameters_and_defaults(run):
    code, out, _ = run("show", "fedprox")
    assert code == 0
    assert "arXiv 1812.06127" in out
    assert "mu: 0.01" in out
    assert "weighting: examples" in out, "those of the base class, too"
    both = run("show", "dirichlet")[1]
    assert "(label skews)" in both
    assert "(quantity skews)" in both
    assert "alpha: (required)" in both
    drawn = run("show", "ggeur")[1]
    assert "base: fedavg" in drawn
    assert "per_class: null" in drawn
    assert "prototypes: true" in drawn
    assert "<NA>, 'null', None]" in run("show", "csv")[1], "a long default takes lines"


def test_lists_have_every_name_and_a_sentence_for_it(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run("list")
    assert code == 0
    from fedlab.config import catalogue, registry

    for group, known in registry.BUILTIN.items():
        sentences = catalogue.sentences(group)
        assert list(sentences)[: len(known)] == list(known)
        for name, sentence in sentences.items():
            assert sentence, f"{group}: {name} has no docstring"
            assert "cannot be imported" not in sentence
            if group != "clients":
                assert f"  {name}  " in out
    assert run("list", "models")[1].startswith("models\n")


def test_a_scenario_is_copied_and_never_over_a_file(tiny, run, tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "given.yaml").write_text(TEXT)
    monkeypatch.setattr(builtin_scenarios, "files", lambda package: tmp_path / "shipped")
    assert run("copy", "given")[0] == 0
    assert (tmp_path / "given.yaml").read_text() == TEXT
    (tmp_path / "given.yaml").write_text("mine")
    code, _, err = run("copy", "given")
    assert code == 2
    assert err == "error: 'given.yaml' is there already; name another file\n"
    assert (tmp_path / "given.yaml").read_text() == "mine"
    assert run("copy", "given", "other.yaml")[0] == 0
    assert run("copy", "given", "gone/other.yaml")[0] == 2


def test_help_comes_without_the_heavy_imports():
    code = (
        "import sys; from fedlab import cli, catalogue; catalogue.sentences('models');"
        "print({'torch', 'flwr', 'ray', 'pandas', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_verb_has_help_and_an_example(run):
    for verb in ("simulate", "resume", "list", "show", "validate", "partition", "copy"):
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"fedlab {verb}" in out.split("Usage:")[1].split("\n", 1)[1]
    assert run("--version")[1] == f"fedlab {fedlab.__version__}\n"


def test_public_names_are_there():
    assert set(fedlab.__all__) <= set(dir(fedlab))
    for name in {*fedlab.__all__} - {"__version__"}:
        assert getattr(fedlab, name).__name__ == name
    assert fedlab.__version__ == importlib.metadata.version("fedlab-sim")
    with pytest.raises(AttributeError, match="no attribute 'simulatte'"):
        _ = fedlab.simulatte


@pytest.mark.parametrize("name", ["strategies", "clients", "scenarios"])
def test_the_links_in_the_root_cannot_be_imported(name, tmp_path):
    (tmp_path / name).symlink_to(next(iter(__import__(f"fedlab.{name}").__path__)) + f"/{name}")
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr.strip().endswith(f"ImportError: import fedlab.{name}, not {name}")


def test_validate_takes_changes_and_looks_for_files_and_domains(tiny, run, tmp_path):
    assert run("validate", "tiny.yaml", "rounds=3") == (0, "valid tiny.yaml\n", "")
    code, _, err = run("validate", "tiny.yaml", "rounds=0")
    assert (code, "rounds: 0: must be greater than 0" in err) == (2, True)
    code, _, err = run("validate", "model=linear")
    assert (code, "changes a scenario, and none is named" in err) == (2, True)
    code, _, err = run("validate", "tiny.yaml", "data.unseen_domains=sketch")
    assert (code, "data.unseen_domains names 'sketch', which no source yields" in err) == (2, True)
    gone = "data.sources=[{name: image_folder, path: gone}]"
    code, _, err = run("validate", "tiny.yaml", gone)
    assert (code, "there is no folder" in err) == (2, True)
    assert run("validate", "tiny.yaml", gone, "--no-data")[0] == 0
    for source in ("{name: csv, files: {a: no.csv}}", "{name: npz, path: no.npz}"):
        code, _, err = run("validate", "tiny.yaml", f"data.sources=[{source}]")
        assert (code, "does not exist" in err) == (2, True)


def test_partition_needs_no_network_that_fits_and_writes_a_table(tiny, run, tmp_path):
    code, out, err = run("partition", "tiny.yaml", "model=missing:Net", "--table", "who.csv")
    assert (code, "cannot be imported" in err) == (2, True)
    (tmp_path / "odd.py").write_text("def net():\n    raise RuntimeError\n")
    code, out, err = run("partition", "tiny.yaml", "model=odd:net", "--table", "who/who.csv")
    assert (code, err) == (0, "")
    assert "table: who/who.csv" in out
    run("simulate", "tiny.yaml", "--out", "chosen")
    table = (tmp_path / "who/who.csv").read_text()
    assert table == (tmp_path / "chosen/partition.csv").read_text()
    assert table.startswith("split,sample,client,domain,class,label,labelled\ntrain,0,")
