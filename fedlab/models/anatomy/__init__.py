"""Analysis of a `torch.nn.Module`: its tensors, their roles, and observations from a run."""

from fedlab.models.anatomy.anatomy import Anatomy, anatomy_of, fill, study
from fedlab.models.anatomy.buffers import Role

__all__ = ["Anatomy", "Role", "anatomy_of", "fill", "study"]
