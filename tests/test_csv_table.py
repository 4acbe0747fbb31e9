import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from fedlab.data.csv_table import Csv
from fedlab.errors import InputError
from helpers.loading import load, of


@pytest.fixture
def clinics(tmp_path) -> Path:
    """Ten patients a clinic: column 0 counts them, column 1 is unknown in the south."""
    north = [f"{index},{10 * index},{index % 3}" for index in range(10)]
    south = [f"{100 + index},?,{2 * (index % 2)}" for index in range(10)]
    (tmp_path / "north.csv").write_text("\n".join(north))
    (tmp_path / "south.csv").write_text("\n\n".join(south) + "\n")
    return tmp_path


CLINICS = {"name": "csv", "files": {"north": "north.csv", "south": "south.csv"}}


def write(root: Path, text: str) -> dict:
    (root / "table.csv").write_text(text)
    return {"name": "csv", "files": {"only": "table.csv"}}


def test_files_become_domains_of_features(clinics):
    data = load(clinics, CLINICS)
    assert data.domain_names == ("north", "south")
    assert data.class_names == ("0", "1", "2")
    assert data.train.inputs.dtype == np.float32
    assert [len(of(data, name)) for name in data.domain_names] == [8, 8]
    both = np.concatenate([of(data, "north"), of(data, "north", "test")])
    assert sorted(both[:, 0].tolist()) == list(range(10))
    assert (both[:, 1] == 10 * both[:, 0]).all()
    assert (data.train.labels == data.train.inputs[:, 0] % 3)[data.train.domains == 0].all()


@pytest.mark.parametrize(("impute", "middle"), [("median", np.median), ("mean", np.mean)])
def test_missing_values_are_those_of_the_training_rows_that_have_one(clinics, impute, middle):
    data = load(clinics, CLINICS | {"impute": impute})
    filled = np.concatenate([of(data, "south"), of(data, "south", "test")])[:, 1]
    assert np.allclose(filled, middle(of(data, "north")[:, 1]))


def test_no_client_learns_from_unseen_domains(clinics):
    (clinics / "west.csv").write_text("\n".join(f"{index},9999,1" for index in range(10)))
    files = CLINICS["files"] | {"west": "west.csv"}
    data = load(clinics, CLINICS | {"files": files}, unseen_domains=["west"])
    assert of(data, "south")[:, 1].max() < 100


def test_incomplete_rows_may_be_dropped(clinics):
    with open(clinics / "south.csv", "a") as file:
        file.write("\n".join(f"{index},{index},{index % 3}" for index in range(20)))
    data = load(clinics, CLINICS | {"impute": "drop"})
    assert len(of(data, "south")) == 16
    (clinics / "south.csv").write_text("1,?,0\n2,?,1")
    with pytest.raises(InputError, match=r"impute is 'drop', but no row of domain 'south'"):
        load(clinics, CLINICS | {"impute": "drop"})


def test_labels_may_be_made_binary(clinics):
    data = load(clinics, CLINICS | {"positive_above": 0})
    assert data.class_names == ("<= 0", "> 0")
    north = data.train.domains == 0
    assert (data.train.labels == (data.train.inputs[:, 0] % 3 > 0))[north].all()
    named = load(clinics, CLINICS | {"positive_above": 1, "class_names": ["well", "ill"]})
    assert named.class_names == ("well", "ill")
    assert np.bincount(named.test.labels).tolist() == [2, 2]


def test_headers_name_columns_and_bring_them_into_order(tmp_path):
    (tmp_path / "a.csv").write_text(
        "age;sick;dose\n" + "\n".join(f"{i};yes;{-i}" for i in range(9))
    )
    (tmp_path / "b.csv").write_text("\ufeffsick;dose;age\n" + "no; -3 ;NaN\n" * 9, "utf-8")
    files = {"a": "a.csv", "b": "b.csv"}
    source = {"name": "csv", "files": files, "label": "sick", "delimiter": ";"}
    data = load(tmp_path, source)
    assert data.class_names == ("no", "yes")
    assert (of(data, "a")[:, 0] == -of(data, "a")[:, 1]).all()
    assert (of(data, "b")[:, 1] == -3).all()
    assert (of(data, "b")[:, 0] == np.median(of(data, "a")[:, 0])).all()
    by_place = load(tmp_path, source | {"label": 1, "files": {"a": "a.csv"}})
    assert by_place.input_shape == (2,)
    assert by_place.class_names == ("yes",)


def test_labels_are_sorted_as_numbers(tmp_path):
    source = write(tmp_path, "".join(f"0,{label}\n" for label in ("10", "2", "2.0", "-1") * 5))
    data = load(tmp_path, source)
    assert data.class_names == ("-1", "2", "10")
    assert np.bincount(data.train.labels).tolist() == [4, 8, 4]


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("1,2\n1,x2,3\n", {}, r"has 3 cells in line 2 but 2 in its first"),
        ("1,2,0\n\n1,x2,3\n", {}, r"'x2' in line 3, column 1, which is not a number"),
        ("a,b,c\n1,2,0\n1,x2,3\n", {}, r"'x2' in line 3, b, which is not a number"),
        ("1,2,0\n1,2,?\n", {}, r"no label in line 2"),
        ("1,2\n1,2\n", {"label": 2}, r"2 columns, none at position 2"),
        ("1,2\n1,2\n", {"label": "sick"}, r"no column 'sick' in its header, only 1, 2"),
        ("1,0.5\n1,2\n", {}, r"labels hold 0\.5, which is no class; .*positive_above"),
        ("1,yes\n1,no\n", {"positive_above": 0}, r"positive_above needs numeric labels"),
        ("1,0\n1,1\n", {"class_names": ["a"]}, r"class_names gives 1 names, .* 2 classes \(0, 1\)"),
        ("1,?,0\n" * 5, {}, r"no training row has a value for column 1"),
        ("1,0\ninf,0\n3,1\n", {}, r"has 'inf' in line 2, column 0, which is no finite number"),
        ("a,y\n1,0\n-1e400,1\n", {"label": "y"}, r"has '-1e400' in line 3, a, which is no finite"),
        ("1,0\n-inf,0\n3,1\n", {}, r"has '-inf' in line 2, .* or set the source's missing to it"),
        ("", {}, r"has no rows"),
        ("1,0\n", {}, r"test split of domain 'only' is empty"),
        (
            "a;b\n1;0\n",
            {},
            r"single column, which begins with 'a;b'; .* set the source's delimiter",
        ),
        ("# exported 2024\na,b\n1,0\n", {}, r"'# exported 2024', which is a comment; remove"),
        ("# made, by me\na,b,c\n1,2,0\n", {}, r"remove the first line, .* '# made', if it is a"),
        ("sep=;\na;b\n1;0\n", {}, r"'sep=;', which is for .* the source's delimiter to ';'"),
        (
            "sep=;\na;b\n1;0\n",
            {"delimiter": ";"},
            r"'sep=;', which is for spreadsheets; remove it$",
        ),
        ("Unnamed: 0,a,b\n0,5,1\n1,6,0\n", {}, r"column 'Unnamed: 0', as pandas .* index=False"),
        (
            "a,b\n12345678901234567890,0\n12345678901234567891,1\n",
            {},
            r"'12345678901234567891' in line 3, a, which is the same number as '1.*ignore",
        ),
        ("a,b\n", {}, r"a header and no rows; add some"),
        (",a,b\n0,5,1\n1,6,0\n", {}, r"no name for column 0 .* pandas .* index=False"),
        (
            "".join(f"{i % 7},{i}\n" for i in range(20)),
            {},
            r"20 different values in 20 rows .*label",
        ),
    ],
)
def test_unfit_tables_are_refused(tmp_path, text, parameters, message):
    with pytest.raises(InputError, match=rf"data\.sources\.0.*{message}"):
        load(tmp_path, write(tmp_path, text) | parameters)


def test_a_column_that_pandas_has_named_may_be_ignored(tmp_path):
    text = "Unnamed: 0,a,b\n" + "".join(f"{i},{i % 3},{i % 2}\n" for i in range(20))
    data = load(tmp_path, write(tmp_path, text) | {"ignore": "Unnamed: 0"})
    assert data.feature_names == ("a",)


def test_long_numbers_that_stay_different_are_read(tmp_path):
    text = "a,b\n" + "".join(f"{2**60 + 2**20 * i},{i % 2}\n" for i in range(20))
    data = load(tmp_path, write(tmp_path, text))
    assert len(np.unique(np.concatenate([data.train.inputs, data.test.inputs]))) == 20


@pytest.mark.parametrize(
    ("south", "east", "said"),
    [
        (("no", "yes"), ("0", "1"), "south has no class in common .* has 2 \\(no, yes\\)"),
        (("no", "yes"), ("x", "y"), "north, south, east have no class in common"),
        (("1", "2"), ("2", "3"), None),
    ],
)
def test_domains_without_a_common_class_are_said(tmp_path, caplog, south, east, said):
    (tmp_path / "sites").mkdir()
    for name, labels in {"north": ("0", "1"), "south": south, "east": east}.items():
        rows = "".join(f"{i},{labels[i % 2]}\n" for i in range(20))
        (tmp_path / "sites" / f"{name}.csv").write_text("a,b\n" + rows)
    files = {name: f"sites/{name}.csv" for name in ("north", "south", "east")}
    load(tmp_path, {"name": "csv", "files": files}, image_size=28)
    assert bool(re.search(said or "in common", caplog.text)) == bool(said)


def test_files_must_exist_and_have_the_same_columns(clinics):
    (clinics / "south.csv").write_text("1,2,3,0\n" * 5)
    with pytest.raises(InputError, match=r"files\.south: .*they differ in column 2\)"):
        load(clinics, CLINICS)
    (clinics / "south.csv").unlink()
    with pytest.raises(InputError, match=r"data\.sources\.0\.files\.south: '.*' does not exist"):
        load(clinics, CLINICS)
    (clinics / "south.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read as a CSV file"):
        load(clinics, CLINICS)


# Headers


def rows(count: int = 20, label: str = "{parity}") -> str:
    return "".join(
        f"{index}.5,{index * index % 7},{label.format(parity=index % 2, index=index)}\n"
        for index in range(count)
    )


@pytest.mark.parametrize(
    ("first", "count", "said"),
    [
        ("a,b,label", 20, ""),
        ("0,1,label", 20, "numbers the columns and is read as a header"),
        ("0,1,2", 20, "numbers the columns and is read as a header"),
        ("1,2,3", 20, "numbers the columns and is read as a header"),
        ("1998,1999,label", 20, "numbers the columns and is read as a header"),
        ("7.5,3,1", 21, "holds numbers and is read as a sample"),
        ("NA,3,1", 21, "holds numbers and is read as a sample"),
        ("?,,0", 21, "holds numbers and is read as a sample"),
    ],
)
def test_a_header_is_distinguished_from_a_sample(tmp_path, caplog, first, count, said):
    data = load(tmp_path, write(tmp_path, f"{first}\n{rows()}"))
    assert len(data.train) + len(data.test) == count
    assert data.class_names == ("0", "1")
    assert (said in caplog.text) if said else "header" not in caplog.text


@pytest.mark.parametrize("first", ["63,x,1", "a,3,1", "1998,1999,2000", "3,4,5"])
def test_a_row_that_may_be_either_is_refused_until_it_is_said(tmp_path, caplog, first):
    source = write(tmp_path, f"{first}\n{rows()}")
    with pytest.raises(InputError, match=r"begins with .*set the source's header to true or fal"):
        load(tmp_path, source)
    data = load(tmp_path, source | {"header": True})
    assert len(data.train) + len(data.test) == 20
    assert "header" not in caplog.text
    if first[0].isdigit() and "x" not in first:
        data = load(tmp_path, source | {"header": False})
        assert len(data.train) + len(data.test) == 21
        assert "header" not in caplog.text


def test_headers_name_each_column_once(tmp_path):
    with pytest.raises(InputError, match=r"the column 'a' twice in its header"):
        load(tmp_path, write(tmp_path, f"a,a,label\n{rows()}"))
    with pytest.raises(InputError, match=r"twice in its header"):
        load(tmp_path, write(tmp_path, f"a,a,b\n{rows()}") | {"label": "b"})


# Missing values


@pytest.mark.parametrize("mark", ["", "?", "NA", "n/a", "NaN", "null", "None", "#N/A"])
def test_all_marks_of_missing_values_are_filled(tmp_path, mark):
    data = load(tmp_path, write(tmp_path, f"a,b,label\n{mark},1,0\n{rows()}"))
    assert len(data.train) + len(data.test) == 21
    assert np.isfinite(data.train.inputs).all()


def test_cells_that_are_filled_are_counted_by_column(tmp_path, caplog):
    lines = [f"{i},{i if i % 3 else 'NA'},{2 * i},{i % 2}\n" for i in range(12)]
    lines[5] = "5,5,inf,1\n"
    source = write(tmp_path, "age,mass,rate,ill\n" + "".join(lines))
    load(tmp_path, source | {"label": "ill", "missing": ["NA", "inf"], "impute": "mean"})
    (text,) = [r.getMessage() for r in caplog.records if "impute" in r.getMessage()]
    assert text.startswith("data.sources.0.impute: filled 5 missing cells with the mean of the tra")
    assert re.search(r"\(mass: 4 with [0-9.]+, rate: 1 with [0-9.]+\)$", text)
    caplog.clear()
    load(tmp_path, write(tmp_path, rows()))
    assert "impute" not in caplog.text


def test_rows_that_are_left_out_are_counted(tmp_path, caplog):
    text = f"a,b,label\nNA,1,0\n,,\n, ,\n{rows()}"
    data = load(tmp_path, write(tmp_path, text) | {"impute": "drop"})
    assert len(data.train) + len(data.test) == 20
    assert "left out of domain 'only': 1 row with a missing value" in caplog.text
    assert "left out 2 rows without any value (in only)" in caplog.text
    own = write(tmp_path, f"a,b,label\n-999,1,0\n{rows()}") | {"missing": "-999", "impute": "mean"}
    assert load(tmp_path, own).train.inputs.min() >= 0
    with pytest.raises(InputError, match=r"no label in line 2 \('NA' is a mark .*missing"):
        load(tmp_path, write(tmp_path, f"a,b,label\n1,1,NA\n{rows()}"))


# Labels are text


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["07", "7"], ("07", "7")),
        ([str(2**53), str(2**53 + 1)], (str(2**53), str(2**53 + 1))),
        (["1_0", "10"], ("10", "1_0")),
        (["1E50", "1E51"], ("1E50", "1E51")),
        (["E11.9", "I10"], ("E11.9", "I10")),
        (["10", "9"], ("9", "10")),
        (["-1", "1"], ("-1", "1")),
        (["1.0", "0"], ("0", "1")),
        (["cafe\u0301", "tea"], ("caf\u00e9", "tea")),
    ],
)
def test_labels_are_what_is_written(tmp_path, labels, names):
    text = "a,b,label\n" + "".join(f"{k},{k % 3},{labels[k % 2]}\n" for k in range(20))
    source = write(tmp_path, text)
    data = load(tmp_path, source)
    assert data.class_names == names
    assert np.bincount(data.train.labels).tolist() == [8, 8]


def test_decimals_are_labels_where_it_is_said(tmp_path):
    text = "a,b,label\n" + "".join(f"{k},{k % 3},{('250.01', '401.9')[k % 2]}\n" for k in range(20))
    source = write(tmp_path, text)
    with pytest.raises(InputError, match=r"hold 250\.01, which is no class; .*label_type: text"):
        load(tmp_path, source)
    assert load(tmp_path, source | {"label_type": "text"}).class_names == ("250.01", "401.9")


def test_one_class_in_two_spellings_is_refused_in_all_files(tmp_path):
    for name, label in (("a", "Yes"), ("b", "yes")):
        text = "x,y,label\n" + "".join(f"{k},1,{(label, 'no')[k % 2]}\n" for k in range(20))
        (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(InputError, match=r"the labels 'Yes' and 'yes'; give one class one name"):
        load(tmp_path, {"name": "csv", "files": {"a": "a.csv", "b": "b.csv"}})


# Numbers


@pytest.mark.parametrize("cell", ["1_0", "0x10", "\u0661", "1,5", "ten", "--1", "1e", "."])
def test_what_only_looks_like_a_number_is_refused(tmp_path, cell):
    with pytest.raises(InputError, match=r"in line 2, a, which is not a number"):
        load(tmp_path, write(tmp_path, f'a,b,label\n"{cell}",1,0\n{rows()}'))


def test_dates_keep_their_hours(tmp_path):
    text = "day,label\n" + "".join(f"{2459000.5 + k / 24!r},{k % 2}\n" for k in range(480))
    data = load(tmp_path, write(tmp_path, text))
    assert len(np.unique(data.train.inputs)) == len(data.train)


def test_quotation_marks_that_are_not_closed_swallow_no_rows(tmp_path):
    for text, message in [
        ('a,b,label\n1,2,"x\n3,4,y\n', r"unexpected end of data, in the row that ends with line 3"),
        (
            'a,b,label\n1,2,"x\n3,4,y"\n5,6,y\n',
            r"a label of several lines, which ends in line 3; clo",
        ),
        ('a,b,label\n1,2,"x"y\n', r"in the row that ends with line 2\); close its quotation marks"),
    ]:
        with pytest.raises(InputError, match=message):
            load(tmp_path, write(tmp_path, text))
    text = "a,b,label\n" + "".join(
        f'{k}, 1, "{"xy"[k % 2]}"\n{k},2,{"xy"[k % 2]}\n' for k in range(9)
    )
    assert load(tmp_path, write(tmp_path, text)).class_names == ("x", "y")


def test_a_table_without_a_header_has_no_names(tmp_path):
    source = write(tmp_path, rows()) | {"header": False}
    for names in ({"label": "sick"}, {"owner": "who"}, {"categorical": "kind"}):
        with pytest.raises(ValueError, match=r"header: false says that no column has a name"):
            load(tmp_path, source | names)
    with pytest.raises(ValueError, match="takes labels for codes, and positive_above for measurem"):
        load(tmp_path, source | {"label_type": "text", "positive_above": 0.5})


# Bounds


def test_tables_are_read_within_bounds(tmp_path):
    long = "a,b,label\n" + "1" * 5000 + ",1,0\n" + rows()
    for text, limits, message in [
        (long, {"line_bytes": 1000}, r"more than 1000 bytes in line 2.*line_bytes"),
        ("x" * 5000, {"line_bytes": 1000}, r"more than 1000 bytes in line 1.*line_bytes"),
        (rows(200), {"rows": 100}, r"more than the 100 rows that data\.limits\.rows"),
        (rows(200), {"array_bytes": 800}, r"of memory.*array_bytes"),
        (rows(200), {"file_bytes": 100}, r"file_bytes allows 100 bytes"),
    ]:
        with pytest.raises(InputError, match=message):
            load(tmp_path, write(tmp_path, text), limits=limits)


# Whatever the table


NUMBERS = some.floats(-1e12, 1e12).filter(lambda x: abs(x) > 1e-9)
WORDS = some.sampled_from(["alpha", "beta", "gamma delta", "07", "7", "caf\u00e9"])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(some.data())
def test_every_row_of_a_table_is_a_sample(tmp_path, data):
    """Numbers and labels come back as they were written, with any characters around them."""
    width, count = data.draw(some.integers(1, 4)), data.draw(some.integers(12, 40))
    names = data.draw(some.lists(WORDS, min_size=2, max_size=4, unique=True))
    values = [[data.draw(NUMBERS) for _ in range(width)] for _ in range(count)]
    labels = [names[k % len(names)] for k in range(count)]
    has_header, quoted = data.draw(some.booleans()), data.draw(some.booleans())
    delimiter = data.draw(some.sampled_from([",", ";", "\t"]))
    file = io.StringIO(newline="")
    writer = csv.writer(
        file,
        delimiter=delimiter,
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
        lineterminator=data.draw(some.sampled_from(["\n", "\r\n"])),
    )
    if has_header:
        writer.writerow([f"column_{k}" for k in range(width)] + ["label"])
    writer.writerows([*map(repr, own), label] for own, label in zip(values, labels, strict=True))
    bom = "\ufeff" * data.draw(some.booleans())
    (tmp_path / "table.csv").write_text(bom + file.getvalue(), "utf-8", newline="")
    source = {"name": "csv", "files": {"only": "table.csv"}, "delimiter": delimiter}
    read = load(tmp_path, source | {"header": has_header})
    found = [
        (*map(float, own), read.class_names[label])
        for samples in (read.train, read.test)
        for own, label in zip(samples.inputs, samples.labels, strict=True)
    ]
    kind = read.train.inputs.dtype.type
    wanted = [
        (*(float(kind(v)) for v in own), name) for own, name in zip(values, labels, strict=True)
    ]
    assert sorted(found) == sorted(wanted)
    try:
        guessed = load(tmp_path, source)
    except InputError:
        return  # what may be either was refused
    assert len(guessed.train) + len(guessed.test) == count


@pytest.fixture
def rounds(tmp_path) -> Path:
    """One table of three clinics: when, who, a temperature, where, and what became of it."""
    drawn = np.random.default_rng(0)
    with open(tmp_path / "rounds.csv", "w") as file:
        file.write("day,nurse,temperature,clinic,outcome\n")
        for row in range(60):
            clinic = ("South", "north", "é" if row % 2 else "e\u0301")[row % 3]
            cells = f"2024-01-{row % 28 + 1},n{row % 4}", f"{drawn.normal(37):.3f}", clinic
            file.write(",".join([*cells, "home" if row % 5 else "ward"]) + "\n")
    return tmp_path


ROUNDS = {"name": "csv", "files": "rounds.csv", "ignore": ["day", "nurse"]}


def test_a_column_names_the_domains_of_one_table(rounds):
    data = load(rounds, ROUNDS | {"domain_column": "clinic"})
    assert data.domain_names == ("South", "north", "é")
    table = pandas.read_csv(rounds / "rounds.csv")
    table["clinic"] = table["clinic"].replace("e\u0301", "é")
    for name, own in table.groupby("clinic"):
        own.drop(columns=["day", "nurse", "clinic"]).to_csv(rounds / f"{name}.csv", index=False)
    apart = load(rounds, {"name": "csv", "files": {n: f"{n}.csv" for n in data.domain_names}})
    for split in ("train", "test"):
        one, many = getattr(data, split), getattr(apart, split)
        assert np.array_equal(one.inputs, many.inputs)
        assert np.array_equal(one.labels, many.labels)
        assert np.array_equal(one.domains, many.domains)


def test_rows_of_a_domain_may_lie_in_several_files(rounds):
    text = (rounds / "rounds.csv").read_text().splitlines()
    (rounds / "parts").mkdir()
    (rounds / "parts/1.csv").write_text("\n".join(text[:41]))
    (rounds / "parts/2.csv").write_text("\n".join([text[0], *text[41:]]))
    source = ROUNDS | {"domain_column": "clinic", "owner": "nurse", "ignore": "day"}
    one, two = load(rounds, source), load(rounds, source | {"files": "parts"})
    assert np.array_equal(one.train.inputs, two.train.inputs)
    assert np.array_equal(one.train.owners, two.train.owners)
    assert one.owner_names == two.owner_names == ("n0", "n1", "n2", "n3")


def test_a_single_file_is_a_domain_that_is_called_as_it(rounds):
    data = load(rounds, ROUNDS | {"ignore": ["day", "nurse", "clinic"]})
    assert data.domain_names == ("rounds",)
    assert data.train.inputs.shape == (48, 1)


def test_columns_are_left_out_by_position_where_there_is_no_header(rounds):
    text = (rounds / "rounds.csv").read_text().partition("\n")[2]
    (rounds / "bare.csv").write_text(text)
    source = {"name": "csv", "files": "bare.csv", "header": False, "ignore": [0, 1]}
    data = load(rounds, source | {"domain_column": 3})
    assert data.domain_names == ("South", "north", "é")
    named = load(rounds, ROUNDS | {"domain_column": "clinic"})
    assert np.array_equal(data.train.inputs, named.train.inputs)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"domain_column": "hospital"}, "no column 'hospital' in its header"),
        ({"domain_column": "day"}, "domain_column, categorical and ignore name column 0"),
        ({"ignore": "outcome", "label": "outcome"}, r"name column 4 \(outcome\) twice"),
        ({"domain_column": "clinic", "ignore": "nurse"}, "name the column in the source's ignore"),
        ({"files": "round.csv"}, "neither a file nor a folder '.*/round.csv'"),
    ],
)
def test_columns_that_do_not_go_together(rounds, keys, said):
    with pytest.raises(InputError, match=said):
        load(rounds, ROUNDS | keys)


def test_a_row_without_a_domain(rounds):
    with open(rounds / "rounds.csv", "a") as file:
        file.write("2024-02-01,n1,36.5,,home\n")
    with pytest.raises(InputError, match="no domain in line 62, clinic; name one"):
        load(rounds, ROUNDS | {"domain_column": "clinic"})


def test_files_of_owners_are_of_one_domain():
    with pytest.raises(ValueError, match="has both domain_column and files_are: owners"):
        Csv(files="sites", files_are="owners", domain_column="clinic")
