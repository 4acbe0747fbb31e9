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
    place = {name: index for index, name in enumerate(in_order(rows["owner"].unique()))}
    rows = rows[(rows["client"] != "") & (rows["owner"] != "")]
    whose: dict[int, dict[str, int]] = {}
    for client, owner, domain in rows.itertuples(index=False, name=None):
        name = f"{owner} in {domain}" if chosen.per_domain else owner
        whose.setdefault(int(client), {}).setdefault(name, place[owner])
    return {
        client: name_of_several(min(own, key=own.__getitem__), len(own) - 1)
        for client, own in whose.items()
        if len(own) <= chosen.group
    }


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
