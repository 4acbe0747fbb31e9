"""The base of all sources of samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from fedlab.config.component import Component
from fedlab.data.ids import Ids
from fedlab.data.limits import Limits
from fedlab.data.samples import Domain
from fedlab.targets.base import ONLY_CLASS, Target
from fedlab.targets.classes import Classes


@dataclass(frozen=True)
class LoadContext:
    """What a source knows about the scenario it is loaded for.

    Attributes:
        root: Folder that relative paths of the scenario start from.
        channels: Channels that every image is brought to (1 or 3).
        image_size: Height and width that every image is brought to.
        seed: Seed of the splits and generated samples; the same data for every run seed.
        download: Whether missing data sets may be fetched from the network.
        key: Where the source stands in the scenario, e.g. ``data.sources.1``; for error texts.
        unseen_domains: Names of the domains that no client owns; their training samples must not
            enter any statistic.
        domains: Names of the domains that the scenario keeps (``data.domains``); None for all.
            Samples of others must not enter any statistic either.
        limits: How much a reader may take.
        inputs: What the scenario says that the numbers are (``data.inputs``).
        ids: Vocabulary, padding and length of ids, as the scenario states them.
        target: What is to be learnt, as the scenario says it.
        single_client: Whether all samples are those of one client (a device), which may be of one
            owner alone.
    """

    root: Path
    channels: int
    image_size: int
    seed: int
    download: bool
    key: str = "data.sources.0"
    unseen_domains: tuple[str, ...] = ()
    domains: tuple[str, ...] | None = None
    limits: Limits = field(default_factory=Limits)
    inputs: Literal["auto", "images", "numbers", "ids"] = "auto"
    ids: Ids = field(default_factory=Ids)
    target: Target = field(default_factory=Classes)
    single_client: bool = False

    def keeps(self, domain: str) -> bool:
        """Whether the scenario keeps a domain."""
        return self.domains is None or domain in self.domains

    def learns_from(self, domain: str) -> bool:
        """Whether training samples of a domain may enter statistics."""
        return self.keeps(domain) and domain not in self.unseen_domains

    @property
    def statistics(self) -> dict[str, Any]:
        """What decides which domains enter statistics, as JSON, for `Source.depends_on`."""
        kept = None if self.domains is None else sorted(self.domains)
        return {"unseen_domains": sorted(self.unseen_domains), "domains": kept}

    def locate(self, path: Path) -> Path:
        """`path` as an absolute path; relative ones start from `root`."""
        return (self.root / path.expanduser()).absolute()


class Source(Component):
    """A source of samples; it yields one or more domains.

    A user's own source is a subclass named by its Python path, ``my_module:MySource``; the module
    must be importable wherever the data are loaded.

    Attributes:
        cached: Whether the loaded arrays are worth keeping on disk between runs. They may then
            depend only on the context's channels, image size and seed, on `recipe`, `depends_on`,
            and the files that `reads` lists. A subclass has to declare it itself.
        version: To be raised whenever `load` yields other arrays than before, so that arrays that
            an older version has left in the cache are not used.
        targets: The kinds of `data.target` that it yields labels for (`Target.kind`).
    """

    group: ClassVar[str] = "sources"
    cached: ClassVar[bool] = False
    version: ClassVar[int] = 1
    targets: ClassVar[frozenset[str]] = ONLY_CLASS

    @property
    def vocabulary_is_fixed(self) -> bool:
        """Whether its vocabulary follows from its parameters and not from its samples."""
        return False

    @abstractmethod
    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads or generates the samples, decoded once: see the inputs of `Samples`.

        Where the scenario says ``inputs: ids``, inputs may also be object arrays or lists of
        sequences of different lengths.

        Raises:
            InputError: If the data are missing or cannot be read; the text names the file and
                the remedy.
        """

    def recipe(self) -> dict[str, Any]:
        """What `load` depends on besides the context and `reads`, as JSON values.

        By default all parameters; a source adds the versions of the libraries whose output it
        keeps.
        """
        return self.model_dump(mode="json")

    def depends_on(self, context: LoadContext) -> dict[str, Any]:
        """What `load` takes from the context besides channels, image size and seed, as JSON."""
        return {}

    def pinned(self, context: LoadContext) -> Source:
        """The source that yields the same samples for ever, if what it names may change elsewhere.

        A run asks for it once, when it begins, and keeps it in its ``scenario.yaml``.

        Raises:
            InputError: If it cannot be looked up.
        """
        return self

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """The files that `load` reads: a change in one of them invalidates the cache."""
        return ()

    def names(self, context: LoadContext) -> Sequence[str] | None:
        """Names of the domains, found without reading samples; None where they are not known.

        Raises:
            InputError: If files are missing.
        """
        return None

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """Which of its files the source leaves out; logged on every load, also from the cache."""
        return ()

    def derive(self, domains: Sequence[Domain], context: LoadContext) -> Sequence[Domain]:
        """Makes the scenario's domains from the loaded ones; repeated on every load."""
        return domains
