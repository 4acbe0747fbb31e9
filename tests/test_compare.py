import os
from pathlib import Path

import pytest

import fedlab
from fedlab import ClientTrainer
from fedlab.comparison import arguments, compare, run_worker
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.group import in_one_line
from fedlab.comparison.launch import lay_out
from fedlab.data import load
from fedlab.engine.ray.resources import Hardware
from fedlab.errors import InputError
from fedlab.scenario import ResourcesSpec
from fedlab.scenario_file import load_scenario
from helpers import toy
from helpers.tiny_scenario import TEXT, write_tiny

QUIET = {"progress": False}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tiny(tmp_path)


def refused(*args, **kwargs):
    with pytest.raises(InputError) as error:
        fedlab.compare(*args, **kwargs, progress=False)
    return str(error.value)


def bytes_of(run):
    files = ("history.csv", "model.safetensors", "scenario.yaml")
    return [(Path(run.folder) / name).read_bytes() for name in files]


class FailsForSeedOne(ClientTrainer):
    """Misbehaves in some runs alone, and not at once."""

    def begin(self, received, client_state, profile):
        negative = next(self.task.model.parameters()).sum() < 0
        if os.environ.get("FAILS") and negative and received.server_round > 1:
            raise ValueError("no luck")
        return super().begin(received, client_state, profile)


# ---------------------------------------------------------------------------- what to run


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2", ["1", "2"]),
        ("[8,8],[16]", ["[8,8]", "[16]"]),
        ("{name: dirichlet, alpha: 0.1}, iid", ["{name: dirichlet, alpha: 0.1}", "iid"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ('["a,b", c],d', ['["a,b", c]', "d"]),
        ("it's, that's", ["it's", "that's"]),
        ("one", ["one"]),
        ("", [""]),
    ],
)
def test_commas_separate_outside_of_brackets_and_quotes(text, parts):
    assert arguments.split(text) == parts


def test_a_method_without_a_comma_is_refused_with_how_methods_are_named():
    with pytest.raises(InputError, match="such as --strategies fedavg,fedbn"):
        arguments.changes_of(["rounds=1", "fedbn"])


def test_changes_for_all_are_separated_from_values_to_compare():
    changes = arguments.changes_of(
        ["rounds=3", "model.hidden=[8,8],[16]", "data.domains=[a,b]", "training.batch_size=4,full"]
    )
    assert changes.fixed == ["rounds=3", "data.domains=[a,b]"]
    assert changes.variants == {"model.hidden": [[8, 8], [16]], "training.batch_size": [4, "full"]}


@pytest.mark.parametrize("text", ["rounds=1,", "rounds=,1", "rounds=1,,2"])
def test_a_comma_without_a_value_is_refused(text):
    with pytest.raises(InputError, match="has a comma without a value on both sides"):
        arguments.changes_of([text])


@pytest.mark.parametrize(("text", "seeds"), [("3", 3), ("0,3,7", [0, 3, 7]), ("[7]", [7])])
def test_seeds_are_a_number_of_them_or_a_list(text, seeds):
    assert arguments.seeds_of(text) == seeds


def test_folders_of_runs_are_refused_with_the_verb_that_puts_them_side_by_side(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"`fedlab report runs/a runs/b`"):
        arguments.refuse_run_folders(["runs/a", "runs/b"])
    (tmp_path / "smoke").mkdir()  # of the runs of that scenario
    arguments.refuse_run_folders(["smoke", "rounds=3", "runs/c"])


@pytest.mark.parametrize(
    ("texts", "methods"),
    [(["fedbn"], "fedavg,fedbn"), (["fedavg"], "fedavg"), (["fedavg", "fedbn"], "fedavg,fedbn")],
)
def test_methods_that_stand_alone_are_refused_with_where_they_belong(texts, methods):
    with pytest.raises(InputError, match=f"--strategies {methods}$"):
        arguments.changes_of(texts)


@pytest.mark.parametrize("text", ["", "three", "1,x", "-1", "[]"])
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(
        InputError, match="is no number of seeds and no list of them; give how many"
    ):
        arguments.seeds_of(text)


@pytest.mark.parametrize(
    ("strategies", "labels"),
    [
        ((), ["fedprox mu=0.001"]),
        ("fedavg,fedprox", ["fedavg", "fedprox mu=0.001"]),
        ("fedprox mu=1, fedprox mu=0.01", ["fedprox mu=1.0", "fedprox"]),
        (["flwr:FedAdam eta=0.03"], ["flwr:FedAdam eta=0.03"]),
        ([{"name": "fedprox", "mu": 2}], ["fedprox mu=2.0"]),
        (["fedavg weighting=uniform"], ["fedavg weighting=uniform"]),
        (["ggeur per_class=100"], ["ggeur per_class=100"]),
        (["ggeur base=scaffold", "ggeur base=fedavg"], ["ggeur base=scaffold", "ggeur"]),
        (
            [{"name": "ggeur", "base": {"name": "fedprox", "mu": 1, "weighting": "examples"}}],
            ["ggeur base={name: fedprox, mu: 1.0}"],
        ),
    ],
)
def test_strategies_are_named_with_their_parameters(tiny, strategies, labels):
    given = [strategies] if isinstance(strategies, str) else strategies
    listed = [part for s in given for part in (arguments.split(s) if isinstance(s, str) else [s])]
    planned = compare.plan(tiny, listed, [0], (), {}, {})
    assert [one.entry.strategy for one in planned] == labels


def test_the_plan_is_the_cross_product_in_folders_with_plain_names(tiny):
    planned = compare.plan(
        tiny,
        ["fedavg", "fedprox mu=0.1"],
        [0, 3],
        ["rounds=1"],
        {"partition.labels.alpha": [0.1, 5], "model.hidden": [[8, 8], [16]]},
        {},
    )
    assert len(planned) == 2 * 2 * 2 * 2
    assert planned[0].entry.folder == "fedavg-alpha=0.1-hidden=-8-8-s0"
    assert planned[-1].entry.folder == "fedprox-mu=0.1-alpha=5-hidden=-16-s3"
    assert len({one.entry.folder for one in planned}) == len(planned)
    assert planned[-1].scenario.model.hidden == (16,)
    assert {one.scenario.rounds for one in planned} == {1}


def test_what_a_strategy_does_not_have_is_refused_for_all_combinations_at_once(tiny, tmp_path):
    said = refused(tiny, ["fedavg", "fedprox", "fedavg mu=1"], variants={"strategy.mu": [0.1, 1]})
    assert "fedavg, strategy.mu=0.1: override: strategy.mu: 0.1: unknown key; choose from" in said
    assert "'mu' is a key of fedprox, fednova, moon" in said
    assert "fedavg, strategy.mu=1: override: strategy.mu" in said
    assert "fedprox, strategy.mu" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": [0, 3, 0]}, "seeds: names 0 twice; name each seed once"),
        ({"seeds": 0}, "seeds: 0 is no number of runs; give at least 1"),
        ({"seeds": []}, "seeds: names none"),
        ({"seeds": [-1]}, "seeds: -1 is no seed"),
        ({"strategies": "fedavg,fedbn,fedavg"}, "strategies: fedavg stands there twice"),
        ({"strategies": "fedavg,,fedbn"}, "strategies: '' names no method"),
        ({"strategies": "fedavg fedbn"}, "'fedbn' in 'fedavg fedbn' is not of the form"),
        ({"strategies": "fedavq"}, "there is no strategy 'fedavq'; did you mean 'fedavg'?"),
        ({"overrides": ["seed=3"]}, "seed: is what is compared; give it by --seeds (seeds=)"),
        ({"overrides": ["strategy=fedbn"]}, "strategy: is what is compared; give it by --strat"),
        ({"variants": {"rounds": [1, 1]}}, "rounds: has the value 1 twice"),
        ({"variants": {"rounds": 3}}, "rounds: 3 is no list of values to compare"),
        ({"variants": {"resources.actors": [1, 2]}}, "never changes a result"),
        ({"target": 80}, "target: 80 must be above 0 and at most 1"),
        ({"max_parallel": 0}, "max_parallel: 0 is no number of runs"),
        ({"strategies": "fedbn"}, "fedbn: strategy.name: fedbn keeps normalisation layers local"),
        ({"out": "tiny.yaml"}, "'tiny.yaml' is a file; choose a folder with --out"),
        ({"out": "tiny.yaml/x"}, "the folder 'tiny.yaml/x' cannot be written: Not a directory"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(tiny, tmp_path, given, message):
    assert message in refused(tiny, **given)
    assert not (tmp_path / "runs").exists()


# ---------------------------------------------------------------------------- runs


def test_runs_are_those_of_simulate_byte_by_byte(tiny, tmp_path, monkeypatch):
    loaded = []
    load_data = load.load_data
    monkeypatch.setattr(load, "load_data", lambda spec: loaded.append(spec) or load_data(spec))
    done = fedlab.compare(
        tiny, "fedavg,fedprox mu=0.1", [0, 3], rounds=1, out=tmp_path / "all", **QUIET
    )
    assert [group.label for group in done.groups] == ["fedavg", "fedprox mu=0.1"]
    assert done.table()["runs", "finished"].tolist() == [2, 2]
    assert len(loaded) == 1  # what all runs share
    alone = fedlab.simulate(
        tiny,
        ["strategy.mu=0.1"],
        strategy="fedprox",
        seed=3,
        rounds=1,
        out=tmp_path / "alone",
        **QUIET,
    )
    compared = done.groups[1].runs[3]
    assert bytes_of(compared) == bytes_of(alone)
    tables = [(run.folder / "partition.csv").read_bytes() for run in (compared, alone)]
    assert tables[0] == tables[1]


def test_the_same_call_again_repeats_nothing_and_a_larger_one_adds(tiny, tmp_path, capsys):
    one = fedlab.compare(tiny, "fedavg", 1, rounds=1, **QUIET)
    file = one.runs[0].folder / "history.csv"
    assert file.is_relative_to(tmp_path / "runs" / "tiny-comparison")
    before = file.stat().st_mtime_ns
    capsys.readouterr()
    more = fedlab.compare(tiny, "fedavg,local_only", 2, rounds=1, target=0.1)
    assert file.stat().st_mtime_ns == before
    shown = capsys.readouterr().out
    assert "1 of 4 runs have finished before" in shown
    assert "2/4  fedavg-s1  1 rounds  accuracy 0." in shown
    assert len(more.runs) == 4
    opened = Comparison.open(tmp_path / "runs" / "tiny-comparison")
    assert opened.to_markdown() == more.to_markdown()
    assert "rounds to 10 %" in opened.to_markdown()


def test_a_comparison_that_was_stopped_goes_on_to_the_same_bytes(tiny, tmp_path, monkeypatch):
    whole = fedlab.compare(tiny, "fedavg,fedprox", 2, out=tmp_path / "whole", **QUIET)
    calls = []

    class Stops:
        def on_start(self, strategy, first_round, rounds):
            calls.append(first_round)

        def on_round(self, strategy, report):
            if len(calls) == 2:
                raise KeyboardInterrupt

        def on_end(self, strategy): ...

    def with_a_stop(prepared, grid, target, callbacks):
        return start_or_resume(prepared, grid, target, [*callbacks, Stops()])

    start_or_resume = run_worker.start_or_resume
    monkeypatch.setattr(run_worker, "start_or_resume", with_a_stop)
    with pytest.raises(KeyboardInterrupt):
        fedlab.compare(tiny, "fedavg,fedprox", 2, out=tmp_path / "cut", **QUIET)
    cut = Comparison.open(tmp_path / "cut")
    states = cut.results()["state"].tolist()
    assert states == ["finished", "not finished: 1 of 2 rounds", "not started", "not started"]
    calls.append(None)
    done = fedlab.compare(tiny, "fedavg,fedprox", 2, out=tmp_path / "cut", **QUIET)
    assert calls == [1, 1, None, 2, 1, 1]  # the second run went on with its second round
    assert list(map(bytes_of, done.runs)) == list(map(bytes_of, whole.runs))


@pytest.mark.slow
def test_a_run_that_fails_stops_no_other_and_its_reason_is_reported(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FAILS", "yes")
    trainer = f"{__name__}:FailsForSeedOne"
    failing = [
        seed
        for seed in range(6)
        if first_weights(load_scenario(tiny, {"strategy.client": trainer}, seed=seed)) < 0
    ]
    assert 0 < len(failing) < 6
    done = fedlab.compare(tiny, "fedavg", 6, {"strategy.client": trainer}, rounds=2, **QUIET)
    (group,) = done.groups
    assert sorted(group.missing) == failing
    assert "failed: round 2: 4 of 4 clients failed" in group.missing[failing[0]]
    assert done.table()["runs"].iloc[0].to_dict() == {"finished": 6 - len(failing), "planned": 6}
    assert f"missing: fedavg client={trainer}, seed {failing[0]}: failed: " in done.to_markdown()
    monkeypatch.delenv("FAILS")
    mended = fedlab.compare(tiny, "fedavg", 6, {"strategy.client": trainer}, rounds=2, **QUIET)
    assert not mended.groups[0].missing


def first_weights(scenario):
    from fedlab.preparation import prepare

    return next(prepare(scenario).model.parameters()).sum().item()


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("no luck"), GeneratorExit()])
def test_the_driver_gets_the_end_of_a_run_for_any_error(error, tmp_path, monkeypatch):
    def raises(*_):
        raise error

    monkeypatch.setattr(run_worker, "conduct", raises)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    job = run_worker.RunTask("a", tmp_path, load_scenario(write_tiny(tmp_path)), ResourcesSpec())
    news = list(run_worker.RunWorker([], Path.cwd(), {}).run(job, None))
    if isinstance(error, GeneratorExit):
        assert not news
        return
    (reason,) = (in_one_line(one.failure) for one in news)
    assert reason.startswith(f"{type(error).__name__}: {error} ... in raises, test_compare.py:")


def test_another_run_in_the_place_of_one_is_refused(tiny, tmp_path):
    fedlab.compare(tiny, "fedavg", 1, rounds=1, out="here", **QUIET)
    said = refused(tiny, "fedavg", 1, ["training.batch_size=5"], rounds=2, out="here")
    assert said.startswith(
        "the folder 'here/fedavg-s0' holds another run, with rounds=1 and not 2, "
        "training.batch_size=10 and not 5; choose another folder"
    )
    (tmp_path / "here" / "local_only-s0").mkdir()
    (tmp_path / "here" / "local_only-s0" / "mine.txt").touch()
    assert "is not empty" in refused(tiny, "local_only", 1, rounds=1, out="here")


def test_settings_distinguish_groups(tiny):
    done = fedlab.compare(
        tiny, "fedavg,local_only", 2, variants={"training.batch_size": [10, 30]}, rounds=1, **QUIET
    )
    table = done.table()
    assert table.index.names == ["strategy", "training.batch_size"]
    differences = table["difference", "mean"]
    by_hand = table["all domains", "mean"]
    for size in (10, 30):  # each against the first method under the same setting
        expected = by_hand["local_only", size] - by_hand["fedavg", size]
        assert differences["local_only", size] == pytest.approx(expected)
    assert differences["fedavg"].isna().all()
    assert "to fedavg under the same setting, paired by seed" in done.to_markdown()


def test_settings_alone_are_held_against_the_first(tiny):
    done = fedlab.compare(
        tiny, "fedavg", 2, variants={"training.batch_size": [10, 30]}, rounds=1, **QUIET
    )
    table = done.table()
    means = table["all domains", "mean"]
    assert table.loc[("fedavg", 30), ("difference", "mean")] == pytest.approx(
        means["fedavg", 30] - means["fedavg", 10]
    )
    assert len(done.plot().axes[0].lines) == 2


# ---------------------------------------------------------------------------- on hardware


@pytest.mark.parametrize(
    ("spec", "cpus", "runs", "cohort", "limit", "at_once", "actors"),
    [
        ({}, 2, 12, 5, None, 2, 1),
        ({}, 16, 12, 5, None, 12, 1),
        ({}, 16, 4, 5, None, 4, 4),
        ({}, 16, 1, 5, None, 1, 5),  # no more actors than clients
        ({}, 16, 12, 100, 2, 2, 8),
        ({"actors": 2}, 8, 12, 5, None, 4, 2),
        ({"cpus_per_actor": 4}, 16, 12, 5, None, 4, 1),
    ],
)
def test_runs_share_what_there_is(spec, cpus, runs, cohort, limit, at_once, actors):
    layout = lay_out(ResourcesSpec(**spec), Hardware(cpus, 0), runs, cohort, limit)
    assert (layout.max_parallel, layout.actors) == (at_once, actors)


def test_gpus_are_shared_too():
    layout = lay_out(ResourcesSpec(), Hardware(16, 1), 12, 5, None)
    assert (layout.max_parallel, layout.actors, layout.share.gpus) == (4, 1, 0.25)


# ---------------------------------------------------------------------------- command line


def test_the_command_shows_progress_and_a_table(tiny, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    command = ("compare", tiny, "--strategies", "fedavg,fedprox mu=1", "--seeds", "2", "rounds=1")
    code, out, err = run(*command, "--target", "0.01", "--out", "here")
    assert code == 0
    assert "1/4  fedavg-s0  1 rounds  accuracy 0." in err
    for word in ("fedprox mu=1.0", "2 of 2", "north", "difference", "to 1 %"):
        assert word in out
    assert "runs: here" in out
    code, out, err = run(*command, "--out", "here", "--format", "latex")
    assert (code, err) == (0, "4 of 4 runs have finished before\n")
    assert out.startswith("% \\usepackage{booktabs}")


def test_that_the_local_backend_does_one_run_at_a_time_is_logged(tiny, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    command = ("compare", tiny, "--seeds", "1", "rounds=1", "--out", "here")
    code, _, err = run(*command, "--max-parallel", "3")
    assert code == 0
    assert "resources.backend is local, which does one run at a time, and not 3 at once" in err


def test_the_command_ends_with_1_where_runs_are_missing(tiny, run, monkeypatch):
    monkeypatch.setenv("FAILS", "yes")
    trainer = f"strategy.client={__name__}:FailsForSeedOne"
    code, out, err = run("compare", tiny, "--seeds", "6", "rounds=2", trainer, "--format", "csv")
    assert code == 1
    assert "failed after" in err
    assert err.endswith("runs are missing; the same command tries them again\n")
    assert out.startswith("strategy,runs finished,runs planned,north mean")


def test_ctrl_c_says_that_the_same_command_goes_on(tiny, run, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run_all", stopped)
    code, _, err = run("compare", tiny)
    assert (code, err) == (130, "stopped; the same command goes on where it was\n")


def test_the_scenarios_own_parameters_do_not_stand_in_the_way(tiny, run):
    """`strategy.name=...` drops what belonged to the other method; so does a comparison."""
    assert "mu" in TEXT
    assert run("compare", tiny, "--strategies", "fedavg,fedsam", "--seeds", "1", "rounds=1")[0] == 0


# ---------------------------------------------------------------------------- on Ray


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    "methods",
    [["fedavg", "fedbn", "fedprox mu=0.1"], pytest.param(["fedbn"], marks=pytest.mark.slow)],
)
def test_runs_on_ray_have_the_bytes_of_simulate(methods, tmp_path, caplog):
    """Several runs at once, each in one process; and one run that has all actors for itself."""
    caplog.set_level("INFO", "fedlab.comparison")
    alone = fedlab.simulate(toy.scenario(), strategy="fedbn", out=tmp_path / "alone", **QUIET)
    on_ray = toy.scenario(resources={})
    done = fedlab.compare(on_ray, methods, 1, out=tmp_path / "all", **QUIET)
    at_once = "2 runs at once with 1 CPU" if len(methods) > 1 else "1 run at once with 2 CPU"
    assert at_once in caplog.text
    (again,) = (group.runs[0] for group in done.groups if group.strategy == "fedbn")
    assert bytes_of(again)[:2] == bytes_of(alone)[:2]
    assert len(done.runs) == len(methods)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_run_that_kills_its_process_is_tried_with_processes_for_its_clients(tmp_path):
    kills = {"name": "fedavg", "client": "helpers.failing:Dies"}
    tolerated = {"participation": {"max_failed_share": 0.5}}
    done = fedlab.compare(
        toy.scenario(resources={}, **tolerated), ["fedavg", kills], 1, out=tmp_path / "a", **QUIET
    )
    assert [len(group.runs) for group in done.groups] == [1, 1]
    failed = done.groups[1].runs[0].history.query("metric == 'failed'")["value"]
    assert failed.tolist() == [1, 1]
