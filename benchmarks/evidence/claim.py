"""Claims as their files have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CLAIMS = Path(__file__).parent / "claims"
PROTOCOLS = Path(__file__).parent / "protocols"
"""Files of the same form without comparisons: methods under a protocol of the field, whose order is
shown as it comes out and decides nothing."""


@dataclass(frozen=True)
class Study:
    """One scenario, whose methods are tuned alike and compared.

    Attributes:
        name: Its name within the claim.
        scenario: The scenario that it starts from.
        overrides: Changes of the scenario, by dotted key.
        methods: Methods as `fedlab.tune` takes them, by the label that tables have.
        root: ``DATA`` or ``DIGITS_FIVE``, where it reads data that do not come with fedlab.
        chosen_in: The study whose chosen values it takes, instead of tuning.
        domains: The domains that count; all by default.
    """

    name: str
    scenario: str
    overrides: Mapping[str, Any]
    methods: Mapping[str, str]
    root: str | None = None
    chosen_in: str | None = None
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A comparison by which a claim is decided.

    Attributes:
        study: The study of the method.
        method: Label of the method that is to be ahead.
        over: Label of the reference.
        of: The reference's study.
        no_worse_by: Points by which the method may be behind; None if it has to be ahead.
    """

    study: str
    method: str
    over: str
    of: str
    no_worse_by: float | None = None

    @property
    def words(self) -> str:
        """The order in words."""
        sign = ">" if self.no_worse_by is None else ">="
        return f"{self.study}: {self.method} {sign} {self.over}"


@dataclass(frozen=True)
class Claim:
    """An order between methods.

    Attributes:
        name: The name of its file.
        letter: Its letter in docs/evidence.md; none where nothing is compared.
        title: The order in words.
        measure: ``own``, clients' own models on their domains, or ``global``, the server's model.
        seeds: How many, from 0.
        budget: Draws for each method.
        select: What chooses a draw.
        space: What is drawn: ``shared``, and ``own``, where ``nothing`` draws no parameter of a
            method, and what is missing draws what methods declare.
        studies: By name, in the order in which they are run.
        pairs: The comparisons.
    """

    name: str
    letter: str
    title: str
    measure: str
    seeds: int
    budget: int
    select: str
    space: Mapping[str, Any]
    studies: Mapping[str, Study]
    pairs: tuple[Pair, ...]


def names() -> list[str]:
    """All claims, in the order of docs/evidence.md, the cheapest first."""
    found = [path.stem for path in CLAIMS.glob("*.yaml")]
    order = "cfbade"
    return sorted(found, key=lambda name: order.find(read(name).letter))


def protocols() -> list[str]:
    """What is run without a claim."""
    return sorted(path.stem for path in PROTOCOLS.glob("*.yaml"))


def read(name: str, *folders: Path) -> Claim:
    """A claim, or a protocol.

    Args:
        name: The name of its file.
        folders: Where it may be; `CLAIMS` and `PROTOCOLS` by default.

    Raises:
        ValueError: If there is no such claim, or it compares what none of its studies has.
    """
    files = [path for folder in folders or (CLAIMS, PROTOCOLS) for path in folder.glob("*.yaml")]
    file = next((path for path in files if path.stem == name), None)
    if file is None:
        known = ", ".join(sorted(path.stem for path in files))
        raise ValueError(f"there is no claim '{name}'; choose one of {known}")
    written = yaml.safe_load(file.read_text("utf-8"))
    studies = {
        key: Study(
            key,
            study.get("scenario", written["scenario"]),
            {**written.get("overrides", {}), **study["overrides"]},
            study["methods"],
            study.get("root"),
            study.get("chosen_in"),
            tuple(study.get("domains", ())),
        )
        for key, study in written["studies"].items()
    }
    claim = Claim(
        written["claim"],
        written.get("letter", ""),
        written["title"],
        written["measure"],
        written["seeds"],
        written["budget"],
        written.get("select", "validation"),
        written["space"],
        studies,
        tuple(
            Pair(
                pair["study"],
                pair["method"],
                pair["over"],
                pair.get("of", pair["study"]),
                pair.get("no_worse_by"),
            )
            for pair in written.get("comparisons", ())
        ),
    )
    _check(claim, file)
    return claim


def _check(claim: Claim, file: Path) -> None:
    labels = {(study.name, label) for study in claim.studies.values() for label in study.methods}
    wanted: Sequence[tuple[str, str]] = [
        place for pair in claim.pairs for place in ((pair.study, pair.method), (pair.of, pair.over))
    ]
    for study, method in wanted:
        if (study, method) not in labels:
            raise ValueError(f"{file}: comparisons: the study '{study}' has no '{method}'")
    for study in claim.studies.values():
        if study.chosen_in is not None and study.chosen_in not in claim.studies:
            raise ValueError(f"{file}: {study.name}: there is no study '{study.chosen_in}'")
