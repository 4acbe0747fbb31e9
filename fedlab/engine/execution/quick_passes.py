"""What makes a network's passes quicker in a client's steps, and leaves their numbers alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, nullcontext

from fedlab.clients.base import ClientTrainer
from fedlab.engine.execution.low_rank_rule import takes_usual_steps
from fedlab.models.memory_format import channels_last_gradients
from fedlab.models.pooled_rectifiers import rectifiers_after_pooling


@contextmanager
def quick_passes(trainer: ClientTrainer, captured: bool = False) -> Generator[None]:
    """The context of a client's steps, and of the step that is compared with plain PyTorch.

    Args:
        trainer: The method's client trainer, which may look into the network if it does not take
            the usual steps.
        captured: Whether steps are captured, and not taken one operation after the other.
    """
    model = trainer.task.model
    plainly = takes_usual_steps(trainer) and not captured
    pooled = rectifiers_after_pooling(model) if plainly else nullcontext()
    with pooled, channels_last_gradients(model):
        yield
