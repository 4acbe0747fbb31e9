"""A client's state between rounds, on its device's disk.

The file has the state after the last message that changed it, and the state before: should the same
message come again, because the server or the device was killed meanwhile, the client starts from
where it started the first time, and comes to the same end.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import RecordDict

from fedlab.errors import InputError
from fedlab.files import make_private
from fedlab.records import Tensors, arrays_of, to_record
from fedlab.tensor_files import read_records, write_records

FORMAT = "fedlab client state 2"


class StateFile:
    """One client's state in one run.

    Args:
        path: The file; created with the first state.

    Raises:
        InputError: If the file is there and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.task = ""
        """Id of the message that led to the current state."""
        self.before = self.after = RecordDict()
        if path.exists():
            self._load()

    def _load(self) -> None:
        try:
            records, notes = read_records(self.path)
            if notes.get("format") != FORMAT:
                raise ValueError("it is no client state of this version")
            self.task = notes["task"]
            states: dict[str, dict[str, Tensors]] = {"before": {}, "after": {}}
            for key, tensors in records.items():
                when, _, record = key.partition("/")
                states[when][record] = tensors
        except (InputError, OSError, ValueError, KeyError) as error:
            raise InputError(
                f"the client's state '{self.path}' cannot be read ({error}); put a copy of it "
                "back, or delete it: the client then goes on like a new one, with the server's "
                "model and without what it had learnt for itself"
            ) from error
        self.before, self.after = _records(states["before"]), _records(states["after"])

    def start_of(self, task: str) -> RecordDict:
        """The client's state before a message.

        Args:
            task: Identifies the message within the run.
        """
        return (self.before if task == self.task else self.after).copy()

    def keep(self, task: str, before: RecordDict, after: RecordDict) -> None:
        """Writes the state after a message; it is on disk when this returns.

        Args:
            task: Identifies the message within the run.
            before: The state the client began with.
            after: The state it has now.

        Raises:
            OSError: If it cannot be written; what was kept before stays.
        """
        states = {"before": arrays_of(before), "after": arrays_of(after)}
        records = {
            f"{when}/{record}": tensors
            for when, state in states.items()
            for record, tensors in state.items()
        }
        make_private(self.path.parent)
        write_records(self.path, records, {"format": FORMAT, "task": task}, private=True)
        self.task, self.before, self.after = task, before, after


def _records(state: dict[str, Tensors]) -> RecordDict:
    return RecordDict({record: to_record(tensors) for record, tensors in state.items()})
