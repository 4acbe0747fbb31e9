"""Skews, and the scenarios that come with fedlab as YAML files.

A skew of one's own subclasses one of the bases that are shown here.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if __name__ != "fedlab.scenarios":  # a second copy, through the link in the repository's root
    raise ImportError(f"import fedlab.scenarios, not {__name__}")

if TYPE_CHECKING:
    from fedlab.data.stratify import shuffled_groups as shuffled_groups
    from fedlab.partition.apportion import apportion as apportion
    from fedlab.partition.base import DomainSkew as DomainSkew
    from fedlab.partition.base import LabelNoise as LabelNoise
    from fedlab.partition.base import LabelSkew as LabelSkew
    from fedlab.partition.base import QuantitySkew as QuantitySkew
    from fedlab.partition.partition import Partition as Partition
    from fedlab.partition.partition import make_partition as make_partition
    from fedlab.partition.sample_pool import Pool as Pool

__all__ = [
    "DomainSkew",
    "LabelNoise",
    "LabelSkew",
    "Partition",
    "Pool",
    "QuantitySkew",
    "apportion",
    "make_partition",
    "shuffled_groups",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "DomainSkew": "fedlab.partition.base",
        "LabelNoise": "fedlab.partition.base",
        "LabelSkew": "fedlab.partition.base",
        "Partition": "fedlab.partition.partition",
        "Pool": "fedlab.partition.sample_pool",
        "QuantitySkew": "fedlab.partition.base",
        "apportion": "fedlab.partition.apportion",
        "make_partition": "fedlab.partition.partition",
        "shuffled_groups": "fedlab.data.stratify",
    },
)
