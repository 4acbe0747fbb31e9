"""What the documentation's pages are made of: code, results, formulas, links, notebooks."""

from __future__ import annotations

import re
from pathlib import Path

import command_line
import hook
import markdown
import method_pages
import method_results
import method_table
import notebook_pages
import pytest
import reference_pages
import repository
import tables
from formulas import Formulas

from fedlab.config import catalogue, registry
from fedlab.version import __version__

COSTS = ("steps", "bytes up", "bytes down")


def html(text: str) -> str:
    return markdown.markdown(text, extensions=[Formulas(), "fenced_code"])


def test_formulas_are_mathml_and_money_and_code_are_not() -> None:
    made = html(r"Weights $w_k$ and" + "\n\n" + r"$$ w \leftarrow \sum_k p_k \theta_k $$")
    assert made.count("<math") == 2
    assert 'display="block"' in made
    assert "$" not in made
    assert "<math" not in html("from $5 to $10, `$x$`")


def test_a_methods_page_has_what_the_code_says() -> None:
    page = method_pages.completed("fedprox", "# FedProx\n\nWritten by hand.")
    assert page.startswith("# FedProx\n")
    assert "Written by hand." in page
    assert "FedAvg whose clients get μ, the weight of a proximal term." in page
    assert "<b>Down</b><span>the whole model and μ</span>" in page
    assert "| `mu` | float >= 0 | `0.01` | Weight of the proximal term; 0 is FedAvg." in page
    assert "(https://arxiv.org/abs/1812.06127)" in page
    assert "class FedProx(ClientTrainer)" in page
    assert "| **fedprox** |" in page  # its row of the results


@pytest.mark.parametrize("name", registry.BUILTIN["strategies"])
def test_every_methods_docstring_says_what_travels(name: str) -> None:
    words = method_pages.words_of(name)
    assert words.sentence.endswith(".")
    assert {key.split(",")[0] for key in words.travels} >= {"Stays"}
    assert words.paper or name in {"local_only", "centralised"}


def test_one_table_has_all_methods_and_what_they_cost() -> None:
    rows = table_of_methods()
    assert list(rows) == list(registry.BUILTIN["strategies"])
    assert rows["fedavg"]["what goes up"] == "the whole model"
    assert [rows["scaffold"][cost] for cost in COSTS] == ["1", "2", "2"]
    assert [rows["ifca"][cost] for cost in COSTS] == ["1, and k passes forward", "1", "2"]
    assert "(once: 15.0 MB)" in rows["ggeur"]["bytes up"]
    assert rows["centralised"]["bytes up"] == rows["fedbuff"]["what goes up"] == "-"


def test_no_cell_of_the_table_of_methods_is_empty() -> None:
    for name, row in table_of_methods().items():
        assert all(row.values()), f"{name}: {[head for head, cell in row.items() if not cell]}"
        version, ours = (tuple(map(int, each.split("."))) for each in (row["since"], __version__))
        assert (0, 1, 0) <= version <= ours, f"{name}: since {row['since']}"


def test_the_table_of_methods_says_where_numbers_are() -> None:
    rows = table_of_methods()
    numbers = {name: row["numbers"] for name, row in rows.items()}
    assert "[SLA in front of FedAvg](../results.md#sla-in-front-of-fedavg)" in numbers["sla"]
    assert "(../system_heterogeneity.md#what-it-costs-to-wait-and-not-to)" in numbers["fedbuff"]
    assert numbers["fedbn"].startswith("[claim (")
    assert numbers["fedbn"].endswith(" more](fedbn.md#results)")
    assert "## Results" in method_pages.completed("fedbn", "# FedBN\n")
    results = (repository.ROOT / "docs" / "results.md").read_text("utf-8")
    assert method_results.where("fedunheard", "FedUnheard") == "none yet"
    for name, links in numbers.items():
        row = re.search(rf"^\| [`*]*{name}\b", results, re.MULTILINE | re.IGNORECASE)
        assert bool(row) == ("](../results.md#" in links), name


def table_of_methods() -> dict[str, dict[str, str]]:
    """The rows by method; a cell by the head of its column."""
    (found,) = tables.result_tables(method_table.overview())
    rows = [dict(zip(found.head, row, strict=True)) for row in found.rows]
    return {row["method"].split("](")[1].removesuffix(".md)"): row for row in rows}


def test_result_tables_are_found_with_their_section() -> None:
    text = (
        "## One\n\n| method | mean |\n|---|--:|\n| fedavg | 1 |\n| fedbn | 2 |\n\n## Two\n\nwords\n"
    )
    (found,) = tables.result_tables(text)
    assert found == ("One", ["method", "mean"], [["fedavg", "1"], ["fedbn", "2"]])


def test_the_home_page_has_its_rows() -> None:
    home = (repository.ROOT / "docs" / "index.md").read_text("utf-8")
    assert "| fedavg |" in method_pages.with_results(home)


def test_rows_that_are_not_there_are_missed() -> None:
    with pytest.raises(ValueError, match="no rows"):
        method_pages.with_results("<!-- results: Nowhere: fedavg -->")


def test_the_scenario_reference_has_every_key() -> None:
    from fedlab.scenario import Scenario

    page = reference_pages.pages()["reference/scenario.md"]
    for key in ("rounds", "data", "partition", "participation"):
        assert f"| `{key}` |" in page
    assert "### `training.optimizer`" in page
    assert "| `lr_decay` |" in page
    assert all(p.text for p in catalogue.keys_of(Scenario))


def test_the_command_line_page_has_every_verb_and_option() -> None:
    page = command_line.page()
    for words in ("## `fedlab simulate`", "## `fedlab compare`", "`--seeds`", "KEY=VALUE"):
        assert words in page
    assert "[dim]" not in page


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("performance.md", "../benchmarks/results", "benchmarks/index.md"),
        ("performance.md", "results.md#digits-five", "results.md#digits-five"),
        ("contributing.md", "docs/architecture.md", "architecture.md"),
        ("guides/method.md", "../methods/fedbn.md", "../methods/fedbn.md"),
        ("notebooks/your_own_data.md", "../docs/guides/data.md", "../guides/data.md"),
        ("index.md", "https://flower.ai", "https://flower.ai"),
    ],
)
def test_links_to_files_lead_to_pages(page: str, link: str, expected: str) -> None:
    made = repository.with_links_of_the_site(f"[there]({link})", page)
    assert made == f"[there]({expected})"


def test_a_notebook_becomes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(notebook_pages.WANTED, raising=False)
    notebook = tmp_path / "little.py"
    notebook.write_text("# %% [markdown]\n# # Little\n\n# %%\n1 + 1\n")
    assert notebook_pages.page(notebook).markdown.startswith("# Little\n")
    assert "```python\n1 + 1\n```" in notebook_pages.page(notebook).markdown


def test_what_would_be_loaded_from_elsewhere_is_seen() -> None:
    assert hook.FROM_ELSEWHERE.search('<script async src="https://cdn.example/x.js">')
    assert not hook.FROM_ELSEWHERE.search('<a href="https://arxiv.org"><img src="a.png">')
