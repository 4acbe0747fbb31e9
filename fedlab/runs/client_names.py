"""What a run's clients are called, where they are owners of the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.data.class_names import in_order
from fedlab.errors import InputError
from fedlab.partition.natural_clients import NaturalClients, name_of_several
from fedlab.scenario import Scenario

if TYPE_CHECKING:
    import pandas

COLUMNS = ("client", "owner", "domain")
PIECE = 1 << 18
"""Rows that are read at a time: each sample has one."""


def client_names(table: Path, scenario: Scenario) -> dict[int, str]:
    """Names by client, as the partition's table has them.

    Args:
        table: The run's ``partition.csv``.
        scenario: What was run.

    Returns:
        Of an owner its name; of several packed into a client that of the first, and how many others
        there are. A client of all owners (centralised training) has none. Empty where clients are
        no owners, their names are hidden (``output.owner_names``), or the table is not there.

    Raises:
        InputError: If the table is damaged.
    """
    chosen = scenario.partition.clients
    if not isinstance(chosen, NaturalClients) or not scenario.output.owner_names:
        return {}
    rows = _read(table) if table.is_file() else None
    if rows is None:
        return {}
    rows = rows[rows["owner"] != ""]  # other domains, of which no client is natural
    owners = in_order(rows["owner"].unique())
    domains = rows["domain"].unique().tolist() if chosen.per_domain else [""]
    place, domain_place = ({name: k for k, name in enumerate(own)} for own in (owners, domains))
    keys = rows["owner"].map(place) * len(domains)
    if chosen.per_domain:
        keys += rows["domain"].map(domain_place)
    belongs = rows["client"] != ""
    own = rows["client"][belongs].astype("int64").to_frame().assign(key=keys[belongs])
    found = own.drop_duplicates().groupby("client")["key"].agg(["min", "size"])

    def name(key: int) -> str:
        owner, domain = divmod(key, len(domains))
        return f"{owners[owner]} in {domains[domain]}" if chosen.per_domain else owners[owner]

    return {
        client: name_of_several(name(first), size - 1)
        for client, first, size in zip(*_lists(found.reset_index()), strict=True)
        if size <= chosen.group
    }


def _lists(frame: pandas.DataFrame) -> list[list[int]]:
    return [frame[column].tolist() for column in frame]


def with_owners(table: pandas.DataFrame, names: dict[int, str]) -> pandas.DataFrame:
    """A table with a column ``owner`` behind that of the client, where clients have names.

    Args:
        table: Any table with a column ``client``.
        names: From `client_names`.
    """
    found = table["client"].map(names)
    if found.isna().all():
        return table
    named = table.copy()
    named.insert(table.columns.get_loc("client") + 1, "owner", found.fillna(""))  # type: ignore[operator]
    return named


def _read(table: Path) -> pandas.DataFrame | None:
    """Each client's owners and domains once, as text; None of a table without these columns."""
    import pandas

    try:
        pieces = pandas.read_csv(
            table,
            dtype=str,
            keep_default_na=False,
            usecols=lambda name: name in COLUMNS,
            chunksize=PIECE,
        )
        rows = pandas.concat(piece.drop_duplicates() for piece in pieces).drop_duplicates()
        if set(rows.columns) != set(COLUMNS):
            return None
        rows[rows["client"] != ""]["client"].astype("int64")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{table}: is not as `fedlab simulate` writes it ({error}); delete it, and clients "
            "have numbers instead of their owners' names"
        ) from error
    return rows[list(COLUMNS)]
