"""A device's side of a run: loads its data when invited, then answers as one client."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, cast

import torch
from flwr.app import ConfigRecord, Message, MessageType

from fedlab.config import yaml_text
from fedlab.deploy.device.local_data import OwnData, OwnDataError, load_own_data, with_own_weights
from fedlab.deploy.device.own_tensors import check_own_tensors, sketch
from fedlab.deploy.device.state_file import StateFile
from fedlab.deploy.handshake import INVITE, SEAT, DeviceInfo, Invitation
from fedlab.engine.start import make_runtime
from fedlab.engine.worker import ClientTask, Worker
from fedlab.errors import InputError
from fedlab.flower_compat import error_reply
from fedlab.records import from_wire, to_wire
from fedlab.training.gradients import value_and_gradients
from fedlab.version import __version__

log = logging.getLogger("fedlab")


class Participant:
    """Answers the messages of a server.

    Args:
        name: The device's name.
        data: Its samples (see `fedlab.deploy.device.local_data`).
        domain: Name of their domain, if the user has given one.
        folder: Folder of the client's state.
        device: The PyTorch device, by its name.
        threads: PyTorch threads.
        weights: Its copy of the file of weights that the scenario names, if that is elsewhere.
    """

    def __init__(
        self,
        name: str,
        data: Path,
        domain: str | None,
        folder: Path,
        device: str,
        threads: int,
        weights: Path | None = None,
    ) -> None:
        self.name = name
        self.path = data
        self.domain = domain
        self.folder = folder
        self.device = device
        self.threads = threads
        self.weights = weights
        self._own: OwnData | None = None
        self._state: StateFile | None = None
        self._run = ""
        self.has_ended = False
        """Whether it has answered the last round, after which only the farewell follows."""
        self._workers: dict[tuple[int, int], Worker] = {}

    @property
    def waits_for(self) -> str:
        """What it waits for between two messages, in words."""
        if self._own is None:
            return "waiting for the server's invitation"
        if not self._workers:
            return "waiting for the run to begin: the server waits until it has all its devices"
        return "waiting for the server's next message"

    def answer(self, message: Message) -> Message | None:
        """The reply to a message; None to one that is not for this process.

        Raises:
            InputError: If the invitation cannot be accepted; `refusal` says so to the server.
        """
        kind = message.metadata.message_type
        if kind == INVITE:
            return Message(self._look(message).to_content(), reply_to=message)
        if self._own is None or SEAT not in message.content:
            return None  # meant for an earlier process of this device, and sent again
        return self._work(message)

    def refusal(self, message: Message, error: InputError) -> Message:
        """The reply with the reason why this device cannot take part; it quotes no data."""
        reason = error.outside if isinstance(error, OwnDataError) else str(error)
        return Message(DeviceInfo(self.name, refused=reason).to_content(), reply_to=message)

    def _look(self, message: Message) -> DeviceInfo:
        """Loads the data, unless they were loaded before."""
        invitation = Invitation.of(message.content)
        if self._own is None or invitation.run != self._run:
            if invitation.version != __version__:
                log.warning(
                    "the server has fedlab %s, this device %s",
                    invitation.version,
                    __version__,
                )
            values, _ = yaml_text.read(invitation.scenario, "the server's scenario")
            values = with_own_weights(values, self.weights)
            own = load_own_data(
                values,
                self.path,
                self.domain,
                invitation.classes,
                invitation.shape,
                invitation.features,
            )
            file = f"{own.scenario.name}-{invitation.run}.safetensors"
            if not invitation.run.isalnum():  # it becomes part of a path
                raise InputError(f"the server calls its run '{invitation.run}', which is no name")
            self._state = StateFile(self.folder / file)
            self._workers.clear()
            self._own, self._run = own, invitation.run
            trainer = self._worker(0, 1).runtime.trainer  # early, to report missing requirements
            check_own_tensors(invitation.sketch, sketch(trainer.task.model, trainer.shared))
            _take_a_gradient(self.device)
            self._workers.clear()
        own = self._own
        train, test = len(own.data.train), len(own.data.test)
        log.info("read %d training and %d test samples of '%s'", train, test, own.domain)
        return DeviceInfo(self.name, own.domain, train, test)

    def _work(self, message: Message) -> Message:
        """Trains, tests or answers as the client in the message's `SEAT` record."""
        began = time.perf_counter()
        try:
            content = from_wire(message.content)
        except ValueError as error:
            reason = f"{error}; install the same version of fedlab on both sides"
            log.error("%s: %s", _task_of(message), reason)
            return error_reply(message, reason)
        seat: Any = content.pop(SEAT)
        client, clients = int(seat["client"]), int(seat["clients"])
        state, task = self._state, _task_of(message)
        assert state is not None
        before = state.start_of(task)
        job = ClientTask(message.metadata, client)
        answered = self._worker(client, clients).answer(content, [job], [before])
        reply, after = answered.answers[0]
        if reply.has_error():
            log.error("%s: %s", task, reply.error.reason)
            return reply
        if after is not None:
            try:
                state.keep(task, before, after)
            except OSError as error:
                reason = f"the client's state cannot be written to '{state.path}': {error.strerror}"
                log.error("%s: %s", task, reason)
                return error_reply(message, reason)
        self.has_ended = self._is_last(message)
        # The id of the answered message; the server refuses replies to other ones.
        reply.content["client"] = ConfigRecord({"id": client, "task": seat.get("task", "")})
        log.info("%s: %.1f s", task, time.perf_counter() - began)
        return Message(to_wire(reply.content), reply_to=message)

    def _is_last(self, message: Message) -> bool:
        """Whether a message is the last one of a run: the test, or training without a test."""
        assert self._own is not None
        scenario, config = self._own.scenario, cast(Any, message.content.get("config", {}))
        kind = MessageType.EVALUATE if scenario.evaluation.fraction > 0 else MessageType.TRAIN
        last = int(config.get("server-round", 0)) >= scenario.rounds
        if scenario.evaluation.validation is not None:
            tested = config.get("split", "test") == "test"
            last = tested and (last or scenario.evaluation.select == "validation")
        return last and message.metadata.message_type == kind

    def _worker(self, client: int, clients: int) -> Worker:
        """The worker for a client; a device is the same client for a whole run."""
        assert self._own is not None
        if (client, clients) not in self._workers:
            partition = self._own.partition(client, clients)
            runtime = make_runtime(
                self._own.scenario, self.device, self.threads, self._own.data, partition
            )
            self._workers = {(client, clients): Worker(runtime)}
        return self._workers[client, clients]


def _take_a_gradient(device: str) -> None:
    """Takes a gradient of nothing, at which PyTorch imports what gradients need.

    That takes seconds, on a busy machine 20, which a first round with a timeout does not have.
    """
    at = {"nothing": torch.zeros((), device=device)}
    value_and_gradients(lambda leaves, _: (2 * leaves["nothing"], None), at, {})


def _task_of(message: Message) -> str:
    """The id of a message within a run; the same when it is sent again."""
    config = message.content.get("config", {})
    question = str(config.get("question", config.get("split", "")))  # type: ignore[union-attr]
    kind = message.metadata.message_type
    return " ".join(filter(None, [f"round {config.get('server-round', 0)}", kind, question]))  # type: ignore[union-attr]
