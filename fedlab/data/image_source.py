"""The base of sources of images: one look can be made into several domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from fedlab import rng
from fedlab.config.component import Chosen, ConfigBlock
from fedlab.data.class_names import stated
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.stratify import deal
from fedlab.data.transform import Transform
from fedlab.errors import InputError


class MadeDomain(ConfigBlock):
    """A domain made from the images of another.

    Attributes:
        name: The new domain's name.
        transforms: Applied one after the other; none leaves the images as they are.
    """

    name: str = Field(min_length=1)
    transforms: tuple[Chosen[Transform], ...] = ()

    @field_validator("name")
    @classmethod
    def _name_in_normal_form(cls, name: str) -> str:
        return stated(name)


class ImageSource(Source):
    """A source of images.

    Attributes:
        domain: Name of the domain that the source yields; each source has its own default.
        make_domains: Domains to make from the source's one; by default it stays what it is.
        share_samples: Whether every made domain gets all samples; by default they are dealt out,
            class by class, so that no two made domains show the same sample.
    """

    domain: str | None = Field(default=None, min_length=1)
    make_domains: tuple[MadeDomain, ...] = ()
    share_samples: bool = False

    @field_validator("domain")
    @classmethod
    def _domain_in_normal_form(cls, domain: str | None) -> str | None:
        return domain and stated(domain)

    @field_validator("make_domains")
    @classmethod
    def _different_names(cls, made: tuple[MadeDomain, ...]) -> tuple[MadeDomain, ...]:
        names = [domain.name for domain in made]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"names '{name}' twice; give each made domain its own name")
        return made

    @model_validator(mode="after")
    def _shares_with_made_domains(self) -> ImageSource:
        if self.share_samples and not self.make_domains:
            raise ValueError(
                "share_samples gives every made domain all samples, and make_domains makes none; "
                "leave it out"
            )
        return self

    def _made_names(self, names: Sequence[str]) -> Sequence[str]:
        """Names of the domains that are made of those with these names."""
        return [made.name for made in self.make_domains] or names

    def recipe(self) -> dict[str, Any]:
        """All parameters except those of `derive`, which works on cached arrays."""
        return self.model_dump(mode="json", exclude={"make_domains", "share_samples"})

    def derive(self, domains: Sequence[Domain], context: LoadContext) -> Sequence[Domain]:
        """Divides the samples among the made domains and transforms them.

        Raises:
            InputError: If there is more than one domain to start from, or a transform refuses the
                images.
        """
        if not self.make_domains:
            return domains
        if len(domains) > 1:
            raise InputError(
                f"{context.key}.make_domains needs one domain to start from, but the source yields "
                f"{', '.join(domain.name for domain in domains)}; let it yield one only"
            )
        (whole,) = domains
        train = self._made(whole.train_inputs, whole.train_labels, "train", context)
        test = self._made(whole.test_inputs, whole.test_labels, "test", context)
        return [
            Domain(
                made.name,
                *train[index][:2],
                *test[index][:2],
                whole.class_names,
                whole.remarks,
                train_owners=_taken(whole.train_owners, train[index][2]),
                test_owners=_taken(whole.test_owners, test[index][2]),
                owner_names=whole.owner_names,
            )
            for index, made in enumerate(self.make_domains)
        ]

    def _made(
        self, images: np.ndarray, labels: np.ndarray, split: str, context: LoadContext
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """One split of all made domains: images, labels, and their source indices."""
        if self.share_samples:
            dealt = [np.arange(len(labels))] * len(self.make_domains)
        else:
            dealing = rng.generator(context.seed, "make_domains", split)
            dealt = deal(context.target.kinds(labels), len(self.make_domains), dealing)
        made = []
        for domain, own in zip(self.make_domains, dealt, strict=True):
            changed = images[own]
            for index, transform in enumerate(domain.transforms):
                drawing = rng.generator(context.seed, "transform", domain.name, split, index)
                changed = transform.apply(changed, drawing)
            made.append((changed, labels[own], own))
        return made


def _taken(owners: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """The owners of some rows, where there are owners."""
    return None if owners is None else owners[rows]
