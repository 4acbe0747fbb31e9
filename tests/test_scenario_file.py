from pathlib import Path

import pytest
import yaml

from fedlab.config import builtin_scenarios as shipped_module
from fedlab.config import yaml_text
from fedlab.config.builtin_scenarios import shipped_scenarios
from fedlab.errors import InputError
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario, to_yaml
from helpers import toy
from helpers.tiny_scenario import TEXT, write_tiny


@pytest.fixture
def tiny(tmp_path):
    return write_tiny(tmp_path)


def problem(*args):
    with pytest.raises(InputError) as caught:
        load_scenario(*args)
    assert caught.value.exit_code == 2
    return str(caught.value)


def broken(tiny, old, new):
    assert old in TEXT
    tiny.write_text(TEXT.replace(old, new))
    return problem(tiny)


# ---------------------------------------------------------------------------- reading


def test_a_file_becomes_a_typed_scenario(tiny):
    scenario = load_scenario(tiny)
    assert (scenario.name, scenario.rounds, scenario.partition.clients) == ("tiny", 2, 4)
    assert scenario.strategy.mu == 1e-3
    assert scenario.model.hidden == (8,)
    assert [source.domain for source in scenario.data.sources] == ["north", "south"]


def test_sources_of_every_kind_give_the_same_scenario(tiny):
    scenario = load_scenario(tiny)
    values = yaml_text.read(tiny.read_text(), "")[0]
    assert load_scenario(str(tiny)) == load_scenario(values) == load_scenario(scenario) == scenario


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        (".5", 0.5),
        ("010", 10),
        ("0x1f", 31),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("2020-01-01", "2020-01-01"),
        ("~", None),
        ("1_000", "1_000"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = yaml_text.read(f"key: {text}", "file")[0]["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "value", ["1e-3", "no", "010", "", "~", "2020-01-01", "a: b", "ü", 1e-5, 1e300, None, [1, [2]]]
)
def test_written_values_are_read_back(value):
    text = yaml_text.write({"key": value})
    assert yaml_text.read(text, "")[0] == {"key": value}
    if isinstance(value, str):  # nor may other readers, of YAML 1.1, take it for something else
        assert yaml.safe_load(text) == {"key": value}


def test_resolved_yaml_loads_to_an_equal_scenario(tiny, tmp_path):
    overrides = [
        "model.hidden=[4, 5]",
        "training.optimizer.clip_norm=1e-7",
        "data.sources.0.path=é",
    ]
    scenario = load_scenario(tiny, overrides)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(to_yaml(scenario), encoding="utf-8")
    assert load_scenario(resolved) == scenario
    assert "every: 1" in to_yaml(scenario), "defaults are written out"


# ---------------------------------------------------------------------------- overrides


def test_overrides_take_yaml_values_and_list_indices(tiny):
    scenario = load_scenario(
        tiny, ["seed=7", "training.batch_size=full", "data.sources.1.domain=east", "description="]
    )
    assert (scenario.seed, scenario.training.batch_size) == (7, "full")
    assert [source.domain for source in scenario.data.sources] == ["north", "east"]
    assert scenario.description == ""


def test_overrides_may_be_a_mapping_dotted_or_nested(tiny):
    dotted = load_scenario(tiny, {"strategy.mu": 2.0, "seed": 7})
    nested = load_scenario(tiny, {"strategy": {"mu": 2.0}, "seed": 7})
    assert dotted == nested == load_scenario(tiny, ["strategy.mu=2", "seed=7"])
    assert nested.strategy.name == "fedprox"


def test_top_level_fields_come_first_and_overrides_change_them(tiny):
    scenario = load_scenario(
        tiny, ["seed=1", "strategy.mu=3"], seed=2, strategy="fedprox", rounds=9
    )
    assert (scenario.seed, scenario.strategy.mu, scenario.rounds) == (1, 3, 9)


def test_a_new_component_drops_the_parameters_of_the_old_one(tiny):
    for override in ("strategy=fedavg", "strategy.name=fedavg", "strategy={name: fedavg}"):
        assert load_scenario(tiny, [override]).strategy.name == "fedavg"
    assert load_scenario(tiny, {"strategy": "fedavg"}).strategy.name == "fedavg"


def test_the_same_name_again_keeps_the_parameters(tiny):
    assert load_scenario(tiny, ["strategy.name=fedprox"]).strategy.mu == 1e-3
    assert load_scenario(tiny, ["strategy=fedprox"]).strategy.mu != 1e-3


def test_the_name_of_a_fixed_block_is_a_key_like_others(tiny):
    optimizer = load_scenario(tiny, ["training.optimizer.name=adam"]).training.optimizer
    assert (optimizer.name, optimizer.lr) == ("adam", 0.05)


def test_the_order_of_writing_does_not_matter(tiny):
    assert load_scenario(tiny, ["strategy.mu=3", "strategy=fedprox"]).strategy.mu == 3
    tiny.write_text(TEXT.replace("strategy: {name: fedprox, mu: 1e-3}", "strategy: fedavg"))
    for overrides in (
        ["strategy.mu=3", "strategy.name=fedprox"],
        ["strategy.name=fedprox", "strategy.mu=3"],
    ):
        assert load_scenario(tiny, overrides).strategy.mu == 3


def test_a_short_form_or_a_default_can_be_opened(tiny):
    tiny.write_text(TEXT.replace("model: {name: mlp, hidden: [8], norm: none}", "model: mlp"))
    scenario = load_scenario(
        tiny,
        ["model.hidden=[4]", "data.normalisation.mean=0.3", "partition.label_budget.share=0.1"],
    )
    assert scenario.model.hidden == (4,)
    assert scenario.data.normalisation.mean == 0.3
    assert scenario.partition.label_budget.share == 0.1


def test_overrides_do_not_change_the_mapping_they_apply_to(tiny):
    values = yaml_text.read(tiny.read_text(), "")[0]
    before = yaml_text.write(values)
    load_scenario(values, ["training.optimizer.lr=1", "data.sources.0.domain=east"])
    assert yaml_text.write(values) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("foo", "override 'foo': is not of the form key=value; write for example strategy.name="),
        ("fedbn", "override 'fedbn': is not of the form key=value; write strategy=fedbn"),
        ("smoke", "a scenario is there already; several are compared by `fedlab compare`"),
        ("a..b=1", "override 'a..b=1': is not of the form key=value"),
        ("=1", "override '=1': is not of the form key=value"),
        ("strat=fedavg", "override: strat: fedavg: unknown key; did you mean 'strategy'?"),
        ("strategy.muu=3", "override: strategy.muu: 3: unknown key; did you mean 'mu'?"),
        (
            "data.sources=[{name: csv, files: {a: b.csv}, owner_column: c}]",
            "data.sources.0.owner_column: c: unknown key; did you mean 'owner'?",
        ),
        ("training.lr=1", "training.lr: 1: unknown key; did you mean 'training.optimizer.lr'?"),
        ("seed=abc", "override: seed: abc: must be a valid integer"),
        ("rounds.x=3", "rounds is a value and has no keys; set it as a whole with rounds=..."),
        ("data.sources.2.path=x", "'data.sources.2': data.sources is a list of 2; name an item"),
        ("data.sources.x=1", "'data.sources.x': data.sources is a list of 2; name an item"),
        (
            "data.sources.0.nam=x",
            "override: data.sources.0.nam: x: unknown key; did you mean 'name'",
        ),
        (
            "strategy=fedprx",
            "override: strategy: there is no strategy 'fedprx'; did you mean 'fedp",
        ),
        ("strategy.name=fedprx", "override: strategy.name: there is no strategy 'fedprx'; did you"),
        ("model=[1", "override 'model=[1': expected ',' or ']'"),
        ("training.optimizer=adam", "adam: must be a block with the keys name, lr, "),
        (
            "training.batch_size=half",
            "training.batch_size: half: must be a valid integer or 'full'",
        ),
        ("partition.labels=dirichlet", "override: partition.labels.alpha: is missing; write it"),
        ("data.sources=[]", "override: data.sources: []: needs at least 1 item"),
        ("data.sources.0=7", "override: data.sources.0: 7: needs a name: one of digits"),
        ("partition.clients=null", "override: partition.clients: null: must be a valid integer"),
    ],
)
def test_a_bad_override_is_reported_in_one_line(tiny, override, message):
    said = problem(tiny, [override])
    assert message in said
    assert "\n" not in said


# ---------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("rounds: 2", "ronds: 2", 3, "ronds: 2: unknown key; did you mean 'rounds'?"),
        ("rounds: 2", "rounds: 0", 3, "rounds: 0: must be greater than 0"),
        ("rounds: 2", "rounds: two", 3, "rounds: two: must be a valid integer"),
        ("rounds: 2", "rounds: [2]", 3, "rounds: [2]: must be a valid integer"),
        ("name: tiny", "name: a b", 2, "name: a b: must match the pattern"),
        ("mu: 1e-3", "mu: -1", 13, "strategy.mu: -1: must be greater than or equal to 0"),
        ("alpha: 0.5", "alpha: 0", 11, "partition.labels.alpha: 0: must be greater than 0"),
        ("alpha: 0.5", "beta: 0.5", 11, "partition.labels.beta: 0.5: unknown key; choose from"),
        ("name: mlp", "name: mpl", 12, "model.name: there is no model 'mpl'; did you mean 'mlp'?"),
        ("name: mlp, ", "", 12, "model: needs a name: one of linear, mlp"),
        ("hidden: [8]", "hidden: [8, 0]", 12, "model.hidden.1: 0: must be greater than 0"),
        (
            "batch_size: 10",
            "batch_size: 0",
            14,
            "training.batch_size: 0: must be greater than 0 or",
        ),
        (
            "backend: local",
            "backend: dask",
            15,
            "resources.backend: dask: must be 'ray' or 'local'",
        ),
        ("  clients: 4\n", "", 9, "partition.clients: is missing; write it"),
        ("north.npz}", "north.npz, files: {a: b}}", 6, "data.sources.0: needs either path"),
    ],
)
def test_a_bad_value_is_reported_with_file_line_key_value_and_remedy(tiny, old, new, line, message):
    said = broken(tiny, old, new)
    lines = [text for text in said.splitlines() if text.startswith(f"{tiny}:{line}: {message}")]
    assert lines, said


def test_a_key_that_stands_twice_is_refused(tiny):
    said = broken(tiny, "rounds: 2", "rounds: 2\nseed: 1\nrounds: 3")
    assert said == (
        f"{tiny}:5: the key 'rounds' stands here a second time (first in line 3); keep one of them"
    )


@pytest.mark.parametrize(
    "text",
    [
        "rounds: [1,",
        "a: b: c",
        "\tx: 1",
        "a: *nope",
        "a: !!python/object:os.system 1",
        "a: &b [*b]",
    ],
)
def test_broken_yaml_is_reported_in_one_line_with_its_place(tiny, text):
    tiny.write_text(f"name: x\n{text}\n")
    said = problem(tiny)
    assert said.startswith(f"{tiny}:")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:\tb", InputError),
        ("a: |#\n  b", InputError),
        ("[\u20281? ]", InputError),
        ("a: !", {"a": None}),
        ("a: b\u2028", {"a": "b"}),
        ("a: >-\n  b\n  c\n", {"a": "b c"}),
        ("{a: 010}", {"a": 10}),
    ],
)
def test_both_parsers_read_the_same(text, value):
    if value is InputError:
        with pytest.raises(InputError, match=r"here:[12]: "):
            yaml_text.read(text, "here")
    else:
        assert yaml_text.read(text, "here")[0] == value


@pytest.mark.parametrize("text", ["", "# only a comment", "just text", "- a list"])
def test_a_file_without_a_mapping_holds_no_scenario(tiny, text):
    tiny.write_text(text)
    assert problem(tiny) == f"{tiny}: holds no scenario; start from `fedlab copy domain_skew`"


def test_a_file_that_is_no_text_is_named(tiny):
    tiny.write_bytes(b"\xff\xfe\x00")
    assert problem(tiny).startswith(f"{tiny}: cannot be read: ")


def test_many_problems_are_cut_to_five_lines_and_a_count(tiny):
    keys = "".join(f"unknown_{number}: 1\n" for number in range(9))
    lines = broken(tiny, "rounds: 2\n", keys).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "... and 4 more problems"


def test_problems_between_blocks_name_the_file(tiny):
    said = broken(tiny, "rounds: 2", "participation: {fraction: 0.1}")
    assert said == (
        f"{tiny}: participation.fraction 0.1 of 4 clients samples no client; use at least 0.25"
    )


# ---------------------------------------------------------------------------- shipped scenarios


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "domain_skew.yaml").write_text(write_tiny(tmp_path).read_text())
    (folder / "other.yaml").write_text(
        "description: What the other shows. And more.\nname: other\n"
    )
    monkeypatch.setattr(shipped_module, "files", lambda package: folder)
    return folder


def test_shipped_scenarios_have_a_title(shipped):
    titles = {name: title for name, (title, _) in shipped_scenarios().items()}
    assert titles == {"domain_skew": "Two small tables", "other": "What the other shows"}


def test_a_shipped_scenario_is_found_by_its_name(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_scenario("domain_skew").name == "tiny"
    (tmp_path / "domain_skew").write_text((shipped / "domain_skew.yaml").read_text() + "seed: 5\n")
    assert load_scenario("domain_skew").seed == 5, "a path that exists wins"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "domain_scew",
            "there is no scenario 'domain_scew'; did you mean 'domain_skew'? (see `fed",
        ),
        ("x/domain_skew.yaml", "there is no file 'x/domain_skew.yaml'; fedlab ships 'domain_skew'"),
        ("x/y.yaml", "there is no file 'x/y.yaml'; check the path, or see `fedlab list scenarios`"),
        ("/", "'/' is a folder; name the scenario file in it"),
    ],
)
def test_a_scenario_that_is_not_there_gets_a_hint(shipped, source, message):
    assert message in problem(source)


def test_every_shipped_scenario_is_valid():
    files = {
        path.stem for path in (Path(__file__).parents[1] / "fedlab" / "scenarios").glob("*.yaml")
    }
    assert len(files) > 10
    assert {*shipped_scenarios()} == files
    for shipped in shipped_scenarios().values():
        scenario = load_scenario(shipped.path)
        assert isinstance(scenario, Scenario)
        assert shipped.title


def test_a_block_with_a_name_is_whole_and_one_without_changes_keys(tiny):
    named = load_scenario(tiny, ["strategy={name: fedprox}"])
    assert named.strategy.mu == load_scenario(tiny, ["strategy=fedprox"]).strategy.mu
    assert load_scenario(tiny, ["strategy={name: fedprox, mu: 2}"]).strategy.mu == 2
    assert load_scenario(tiny, {"strategy": {"name": "fedprox"}}).strategy == named.strategy
    assert load_scenario(tiny, ["strategy={mu: 2}"]).strategy.mu == 2
    assert load_scenario(tiny, ["model={hidden: [3]}"]).model.norm == "none"
    dotted = load_scenario(tiny, {"training.optimizer": {"name": "adam", "lr": 0.5}})
    assert dotted.training.optimizer.lr == 0.5
    later = load_scenario(tiny, ["strategy.mu=3", "strategy={name: fedprox, mu: 2}"])
    assert later.strategy.mu == 3


NINE = ", ".join(["*a{0}"] * 9)


@pytest.mark.slow_for("None")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{i}: &a{i} [{NINE.format(i - 1)}]\n" for i in range(1, 9)),
            r"here:6: the document has more than 100,000 values, those that aliases",
        ),
        (
            "a0: &a0 {k: 1}\n"
            + "".join(
                f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)
            ),
            r"here:6: the document has more than 100,000 values",
        ),
        ("a: &a [*a]", r"here:1: the alias \*a stands inside its own anchor"),
        ("a: &a {b: {c: *a}}", r"here:1: the alias \*a stands inside its own anchor"),
        ("a: " + "[" * 3000, r"here:1: more than 40 blocks within blocks"),
        ("a: " + "[" * 3000 + "]" * 3000, r"here:1: more than 40 blocks within blocks"),
        ("{a: " * 3000, r"here:1: more than 40 blocks within blocks"),
        ("\n".join(" " * k + f"k{k}:" for k in range(60)), r"here:41: more than 40 blocks"),
        ("a: " + "x" * 600_000, r"here: the text has 600,003 characters"),
        ("\n".join(f"- {k}" for k in range(101_000))[:500_000], None),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_texts_that_would_take_for_ever_are_refused_at_once(text, said):
    if said is None:
        assert len(yaml_text.read(text, "here")[0]) > 50_000
        return
    with pytest.raises(InputError, match=said):
        yaml_text.read(text, "here")


def test_aliases_are_read_where_they_are_few():
    values, _ = yaml_text.read("a: &a {b: [1, 2]}\nc: *a\nd: {<<: *a, e: 3}", "here")
    assert values == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": {"b": [1, 2], "e": 3}}
    assert yaml_text.read("x" * 600_000, "here", bounded=False)[0] == "x" * 600_000


def test_many_problems_are_reported_shortly(tiny):
    tiny.write_text(TEXT + "\n" + "\n".join(f"{'k' * 500}{k}: 1" for k in range(50)))
    lines = problem(tiny).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "... and 45 more problems"
    assert max(map(len, lines)) < 1000
    assert len(problem(tiny, {f"unknown_{k}": 1 for k in range(3000)}).splitlines()) == 6


def test_a_file_that_is_no_scenario_is_not_read_whole(tmp_path):
    (tmp_path / "big.yaml").write_text("a: " + "x" * 3_000_000)
    assert "has 3,000,003 bytes, which no scenario has" in problem(tmp_path / "big.yaml")


def test_steps_and_epochs_are_said_once(tmp_path, caplog):
    def scenario(training: dict, *overrides: str):
        return load_scenario(toy.scenario().model_dump() | {"training": training}, overrides)

    with pytest.raises(InputError, match=r"local_steps 5 is instead of epochs, and local_epochs 3"):
        scenario({"local_steps": 5, "local_epochs": 3})
    both = ("training.local_steps=5", "training.local_epochs=3")
    with pytest.raises(InputError, match=r"override 'training.local_.*' says something else"):
        scenario({}, *both)
    assert not caplog.records
    steps = scenario({"local_epochs": 3}, "training.local_steps=5").training
    assert (steps.local_steps, steps.local_epochs) == (5, 1)
    assert (
        "'training.local_steps=5' takes the place of the scenario's local_epochs=3" in caplog.text
    )
    epochs = scenario({"local_steps": 5}, "training.local_epochs=2").training
    assert (epochs.local_steps, epochs.local_epochs) == (None, 2)
    assert "takes the place of the scenario's local_steps=5" in caplog.text
    caplog.clear()
    assert scenario({"local_epochs": 1}, "training.local_steps=5").training.local_steps == 5
    assert scenario({"local_steps": 5}, "training.local_steps=null").training.local_epochs == 1
    written = tmp_path / "again.yaml"
    written.write_text(to_yaml(load_scenario(toy.scenario(training=steps.model_dump()))))
    assert load_scenario(written).training.local_steps == 5
    assert not caplog.records
