"""What fedlab understands of a `torch.nn.Module`, asked by everything that handles one."""

from fedlab.models.anatomy.anatomy import Anatomy, anatomy_of, fill, study
from fedlab.models.anatomy.buffers import Role

__all__ = ["Anatomy", "Role", "anatomy_of", "fill", "study"]
