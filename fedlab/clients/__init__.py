"""Client trainers: what one client does in a round, one method a file.

A method of one's own subclasses `ClientTrainer`.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if __name__ != "fedlab.clients":  # a second copy, through the link in the repository's root
    raise ImportError(f"import fedlab.clients, not {__name__}")

if TYPE_CHECKING:
    from fedlab.clients.base import ClientTrainer as ClientTrainer
    from fedlab.data.client_data import ClientData as ClientData
    from fedlab.training.local_round import Carry as Carry
    from fedlab.training.local_round import ClientState as ClientState
    from fedlab.training.local_round import Phase as Phase
    from fedlab.training.local_round import Received as Received
    from fedlab.training.local_round import Update as Update
    from fedlab.training.task import Batch as Batch
    from fedlab.training.task import Task as Task

__all__ = [
    "Batch",
    "Carry",
    "ClientData",
    "ClientState",
    "ClientTrainer",
    "Phase",
    "Received",
    "Task",
    "Update",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "Batch": "fedlab.training.task",
        "Carry": "fedlab.training.local_round",
        "ClientData": "fedlab.data.client_data",
        "ClientState": "fedlab.training.local_round",
        "ClientTrainer": "fedlab.clients.base",
        "Phase": "fedlab.training.local_round",
        "Received": "fedlab.training.local_round",
        "Task": "fedlab.training.task",
        "Update": "fedlab.training.local_round",
    },
    renamed={"LocalHalf": "ClientTrainer"},
)
