"""What a device that is let in may answer without hurting anybody but itself.

Each reply is given to a run of two rounds with two honest devices, through the server's own grid
and round loop. The run ends as it does without that device, which is named with a reason.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from fedlab.archive import read_arrays
from fedlab.deploy.handshake import FAREWELL, INVITE, SEAT, DeviceInfo, Invitation
from fedlab.deploy.server import device_grid as grid_module
from fedlab.deploy.server import device_registry as roll_module
from fedlab.deploy.server.device_grid import DeviceGrid
from fedlab.deploy.server.device_registry import Assignment, DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.federation.callbacks import RoundReport
from fedlab.records import PACKED, to_record
from fedlab.row import Row
from fedlab.strategies.base import ServerSettings
from fedlab.strategies.fedavg import FedAvg
from fedlab.strategies.fedbn import FedBN
from helpers.clock import Clock
from helpers.fake_grid import Network

HONEST, TRAIN, TEST = (1, 2), 10, 4
"""The clients that are not hostile, and the samples that everybody has."""

Reply = Callable[[Message], "RecordDict | Message | None"]


def network_of() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


# ---------------------------------------------------------------------- honest devices


def seat_of(message: Message) -> dict[str, Any]:
    return dict(message.content[SEAT])  # type: ignore[arg-type]


def arrays(message: Message, shift: float = 1.0) -> dict[str, np.ndarray]:
    """The model that came down, a little further on."""
    (packed,) = message.content.array_records.values()
    with np.load(io.BytesIO(packed[PACKED].data)) as file:
        return {name.removeprefix("/"): file[name] + np.asarray(shift, file[name].dtype)
                for name in file.files}  # fmt: skip


def update(message: Message, tensors: Any = None, metrics: Any = None, **client: Any) -> RecordDict:
    """A reply to training."""
    seat = seat_of(message)
    content = RecordDict()
    if tensors is None:
        tensors = arrays(message, 1.0 + seat["client"])
    content["arrays"] = packed(tensors) if isinstance(tensors, dict) else tensors
    content["metrics"] = MetricRecord(
        {"num-examples": TRAIN, "steps": 1, "loss": 1.0, "accuracy": 0.5} | (metrics or {})
    )
    content["client"] = ConfigRecord({"id": seat["client"], "task": seat["task"]} | client)
    return content


def scores(message: Message, metrics: Any = None, **columns: Any) -> RecordDict:
    """A reply to a test."""
    seat = seat_of(message)
    table = {"domain": ["d"], "examples": [TEST], "accuracy": [0.5], "loss": [1.0]} | columns
    content = RecordDict()
    content["metrics"] = MetricRecord(
        {"num-examples": TEST, "accuracy": 0.5, "loss": 1.0} | (metrics or {})
    )
    content["domains"] = ConfigRecord({k: v for k, v in table.items() if v is not None})
    content["client"] = ConfigRecord({"id": seat["client"], "task": seat["task"]})
    return content


def honest(message: Message) -> RecordDict | None:
    kind = message.metadata.message_type
    if kind == INVITE:
        name = f"device-{message.metadata.dst_node_id}"
        return DeviceInfo(name, "d", TRAIN, TEST).to_content()
    if kind == FAREWELL:
        return None
    return update(message) if kind == "train" else scores(message)


# ---------------------------------------------------------------------- archives


def packed(tensors: dict[str, np.ndarray]) -> ArrayRecord:
    buffer = io.BytesIO()
    np.savez(buffer, **{f"/{name}": values for name, values in tensors.items()})
    return bytes_record(buffer.getvalue())


def bytes_record(data: bytes) -> ArrayRecord:
    record = ArrayRecord()
    record[PACKED] = Array(dtype="uint8", shape=(len(data),), stype=PACKED, data=data)
    return record


def with_header(header: bytes, values: bytes = b"") -> ArrayRecord:
    """An archive whose first array has a header of one's own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("/0.weight.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values)  # fmt: skip  # noqa: E501
    return bytes_record(buffer.getvalue())


def claiming(descr: str, shape: str) -> ArrayRecord:
    return with_header(b"{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n" % (descr.encode(), shape.encode()))  # fmt: skip  # noqa: E501


def archive(compression: int = zipfile.ZIP_STORED, *, twice: bool = False, name: str = "/w.npy"):
    buffer = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(buffer, "w", compression) as file,
    ):
        for _ in range(1 + twice):
            file.writestr(name, b"0" * 2000)  # warns of a second one
    return buffer.getvalue()


def flagged() -> bytes:
    """Says that its members are encrypted."""
    data = bytearray(archive())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    return bytes(data)


def unknown_compression() -> bytes:
    data = bytearray(archive())
    for signature, place in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        at = data.index(signature) + place
        data[at : at + 2] = struct.pack("<H", 77)
    return bytes(data)


def lying() -> bytes:
    """Says that a member has a gigabyte."""
    data = bytearray(archive(zipfile.ZIP_DEFLATED))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 1 << 30)
    return bytes(data)


def filled(value: float) -> Reply:
    def reply(message: Message) -> RecordDict:
        sent = arrays(message)
        return update(message, {n: np.full_like(v, value) if v.dtype.kind == "f" else v
                                for n, v in sent.items()})  # fmt: skip

    return reply


def typed(dtype: str) -> Reply:
    with np.errstate(all="ignore"):
        return lambda message: update(
            message, {name: values.astype(dtype) for name, values in arrays(message).items()}
        )


def with_bytes(data: bytes) -> Reply:
    return lambda message: update(message, bytes_record(data))


def with_record(record: ArrayRecord) -> Reply:
    return lambda message: update(message, record)


def with_metrics(**values: Any) -> Reply:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return lambda message: update(message, metrics=named)


def replayed() -> Reply:
    """Its reply to the first round, again and again."""
    kept: list[RecordDict] = []

    def reply(message: Message) -> RecordDict:
        kept.append(update(message))
        return kept[0]

    return reply


def failed(reason: str, code: int = 2) -> Reply:
    return lambda message: Message(Error(code, reason), reply_to=message)


def shaped(message: Message) -> RecordDict:
    return update(message, {name: values[..., None] for name, values in arrays(message).items()})


def renamed(message: Message) -> RecordDict:
    return update(message, {f"my.{name}": values for name, values in arrays(message).items()})


def elsewhere(message: Message) -> RecordDict:
    """A counter that has gone where no number of steps leads."""
    sent = arrays(message)
    return update(message, sent | {"1.num_batches_tracked": np.asarray(2**62)})


TRAINING: dict[str, Reply] = {
    "NaN weights": filled(np.nan),
    "Inf weights": filled(np.inf),
    "-Inf weights": filled(-np.inf),
    "1e30 weights": filled(1e30),
    "a counter far off": elsewhere,
    "num-examples 1e300": with_metrics(num_examples=1e300),
    "num-examples 9e15": with_metrics(num_examples=9 * 10**15),
    "num-examples NaN": with_metrics(num_examples=float("nan")),
    "num-examples -5": with_metrics(num_examples=-5),
    "num-examples one too many": with_metrics(num_examples=TRAIN + 1),
    "other shapes": shaped,
    "other names": renamed,
    "no tensors": lambda m: update(m, {}),
    "float64": typed("float64"),
    "int": typed("int64"),
    "text": typed("U8"),
    "datetime": with_record(claiming("<M8[s]", "(2, 3)")),
    "complex": typed("complex64"),
    "float16": typed("float16"),
    "big-endian": typed(">f4"),
    "uint16": typed("uint16"),
    "4 EB": with_record(claiming("<f4", f"({2**60},)")),
    "200 GB": with_record(claiming("<f4", "(50000000000,)")),
    "minus chain": with_record(with_header(b"-" * 9000 + b"1\n")),
    "nested brackets": with_record(with_header(b"(" * 9000 + b")" * 9000 + b"\n")),
    "pickle": with_record(claiming("|O", "(1,)")),
    "a size that lies": with_bytes(lying()),
    "garbage": with_bytes(b"\xff\x00" * 600),
    "encrypted": with_bytes(flagged()),
    "unknown compression": with_bytes(unknown_compression()),
    "deflated": with_bytes(archive(zipfile.ZIP_DEFLATED)),
    "a member twice": with_bytes(archive(twice=True)),
    "a name with ..": with_bytes(archive(name="../../w.npy")),
    "far too many bytes": with_bytes(bytes(4_000_000)),
    "arrays of Flower's own": lambda m: update(m, ArrayRecord([np.ones((2, 3))])),
    "an error with markup": failed("[bold red]x[/]\x1b[2J\n" * 5000),
    "an error of the SuperLink's": failed("gone", code=3),
    "nothing in it": lambda m: RecordDict(),
    "no metrics": lambda m: RecordDict({k: v for k, v in update(m).items() if k != "metrics"}),
    "a loss that is a list": with_metrics(loss=[1.0, 2.0]),
    "a loss that is NaN": with_metrics(loss=float("nan")),
    "a loss of 1e300": with_metrics(loss=1e300),
    "an accuracy of 7": with_metrics(accuracy=7.0),
    "a metric of its own": with_metrics(evil=1.0),
    "a metric with markup": lambda m: update(m, metrics={"<b>\n=1+1": 1.0}),
    "another record": lambda m: RecordDict({**update(m), "more": to_record({"w": torch.ones(1)})}),
    "another client": lambda m: update(m, id=1),
    "a client that is a text": lambda m: update(m, id="0"),
    "a reply of round 1": replayed(),
    "silent": lambda m: None,
}

TESTS: dict[str, Reply] = {
    "a column is missing": lambda m: scores(m, loss=None),
    "other lengths": lambda m: scores(m, accuracy=[0.5, 0.5]),
    "no lists": lambda m: scores(m, domain="d", examples=4, accuracy=0.5, loss=1.0),
    "accuracy is a text": lambda m: scores(m, accuracy=["1.0"]),
    "accuracy NaN": lambda m: scores(m, accuracy=[float("nan")]),
    "accuracy 2": lambda m: scores(m, accuracy=[2.0]),
    "loss 1e308": lambda m: scores(m, loss=[1e308]),
    "all at once": lambda m: scores(m, accuracy=[float("nan")], loss=[1e308], examples=[10**18]),
    "10^18 examples": lambda m: scores(m, examples=[10**18]),
    "negative examples": lambda m: scores(m, examples=[-1]),
    "a domain of html": lambda m: scores(m, domain=["<script>alert(1)</script>,\n2"]),
    "a domain that is a number": lambda m: scores(m, domain=[3]),
    "100,000 domains": lambda m: scores(
        m,
        domain=["d"] * 100_000,
        examples=[1] * 100_000,
        accuracy=[1.0] * 100_000,
        loss=[0.0] * 100_000,
    ),
    "no num-examples": lambda m: RecordDict(
        {**scores(m), "metrics": MetricRecord({"accuracy": 0.5, "loss": 1.0})}
    ),
    "metrics NaN": lambda m: scores(m, metrics={"accuracy": float("nan")}),
    "metrics of 10^18": lambda m: scores(m, metrics={"num-examples": 10**18}),
    "an error": failed("no"),
}


def invited(**fields: Any) -> Reply:
    whole = {"name": "evil", "domain": "d", "train": TRAIN, "test": TEST, "refused": ""}
    return lambda m: RecordDict({"terms": ConfigRecord(whole | fields)})


INVITATIONS: dict[str, Reply] = {
    "a domain of 1 MB": invited(domain="d" * 1_000_000),
    "a domain with newlines": invited(domain="d\nround 9: \x1b[31m"),
    "a domain of html": invited(domain="<img src=x>"),
    "a name with escapes": invited(name="\x1b]0;x\x07"),
    "10^18 samples": invited(train=10**18),
    "a negative number": invited(train=-1),
    "a refusal with markup": invited(refused="[bold]\x1b[2J" * 1000),
    "garbage": lambda m: RecordDict({"terms": MetricRecord({"a": 1})}),
    "arrays": lambda m: RecordDict({"terms": ArrayRecord([np.ones(3)])}),
    "nothing": lambda m: RecordDict(),
    "an error": failed("\x1b[2J" * 40_000),
}


# ---------------------------------------------------------------------- the run


class BufferResult(NamedTuple):
    """What a run came to."""

    state: dict[str, torch.Tensor]
    reports: list[RoundReport]

    def failures(self) -> dict[str, str]:
        named: dict[str, str] = {}
        for report in self.reports:
            named |= report.failures
        return named


class Noting:
    def __init__(self) -> None:
        self.reports: list[RoundReport] = []

    def on_start(self, *_: object) -> None: ...
    def on_end(self, *_: object) -> None: ...

    def on_round(self, _: object, report: RoundReport) -> None:
        self.reports.append(report)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no wait between two polls of devices and replies, and each takes as long."""
    monkeypatch.setattr(roll_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(grid_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(grid_module, "time", Clock(tick=0.01))


def run_with(evil: Reply, kind: str, method: type = FedAvg) -> BufferResult:
    """Two rounds in which one device answers messages of a kind in its own way."""
    network = Network()

    def one(message: Message) -> Any:
        if message.metadata.message_type != kind:
            said = honest(message)
            if message.metadata.message_type == INVITE:
                return DeviceInfo("evil", "d", TRAIN, TEST).to_content()
            return said
        return evil(message)

    network.answers = {5: honest, 4: honest, 6: one}  # type: ignore[dict-item]
    clients = {"evil": 0, "device-4": 1, "device-5": 2}
    if kind == INVITE:
        clients = {"device-3": 0, "device-4": 1, "device-5": 2}
        network.answers[3] = honest
    invitation = Invitation("run", "0", "", ("a", "b"), (3,))
    roll = DeviceRegistry(Mailbox(cast(Grid, network)), invitation, [None] * len(clients))
    for _ in range(3):
        roll.poll()
    roll.seats = {
        name: Assignment(client, name, "d", TRAIN, TEST) for name, client in clients.items()
    }
    torch.manual_seed(0)
    model = network_of()
    strategy = method(model, settings=ServerSettings(min_replies=1))
    grid = DeviceGrid(roll.post, roll, lambda asked: 1, lambda: None)
    noting = Noting()
    strategy.start(
        grid, to_record(model.state_dict()), num_rounds=2, timeout=0.3, callbacks=[noting]
    )
    return BufferResult(strategy.state["arrays"], noting.reports)


@cache
def without(kind: str) -> BufferResult:
    """The same run, in which the device fails each time."""
    return run_with(failed("no"), kind)


def same(one: BufferResult, other: BufferResult) -> None:
    """Whether the model, and all numbers of the honest devices, are the same."""
    assert all(tensor.equal(other.state[name]) for name, tensor in one.state.items())
    assert rows_of(one) == rows_of(other)


def rows_of(run: BufferResult) -> list[Row]:
    rows = [row for report in run.reports for row in report.rows]
    return [row for row in rows if row.split in ("train", "test") and row.client in HONEST]


def fit_to_be_shown(reason: str) -> None:
    assert len(reason) < 5000
    assert reason.replace("\n", "").isprintable()
    assert all(line.startswith("    ") for line in reason.splitlines()[1:])


@pytest.mark.parametrize("name", TRAINING)
def test_a_hostile_update_costs_its_sender_the_round(name: str) -> None:
    ended = run_with(TRAINING[name], "train")
    if name != "a reply of round 1":
        same(ended, without("train"))
    named = [report.failures.get("device 'evil'", "") for report in ended.reports]
    assert named[1]
    assert named[0] or name == "a reply of round 1"
    for reason in filter(None, named):
        fit_to_be_shown(reason)
    assert list(ended.failures()) == ["device 'evil'"]


@pytest.mark.parametrize("name", TESTS)
def test_a_hostile_test_costs_its_sender_the_test(name: str) -> None:
    ended = run_with(TESTS[name], "evaluate")
    same(ended, without("evaluate"))
    assert list(ended.failures()) == ["device 'evil'"]
    fit_to_be_shown(ended.failures()["device 'evil'"])


@pytest.mark.parametrize("name", INVITATIONS)
def test_a_hostile_answer_to_the_invitation_keeps_its_sender_out(name: str) -> None:
    ended = run_with(INVITATIONS[name], INVITE)
    same(ended, without(INVITE))
    (named,) = ended.failures()
    assert named.startswith("device 'evil'") or named == "device 'node 6'"
    fit_to_be_shown(ended.failures()[named])


def test_an_honest_device_is_left_alone() -> None:
    ended = run_with(update, "train")
    assert not ended.failures()
    assert not same_numbers(ended, without("train"))


def test_tensors_come_in_the_order_in_which_they_went_for_any_order_of_a_device() -> None:
    def reversed_order(message: Message) -> RecordDict:
        shift = 1.0 + seat_of(message)["client"]
        return update(message, dict(reversed(arrays(message, shift).items())))

    ended, straight = run_with(reversed_order, "train"), run_with(update, "train")
    assert not ended.failures()
    same(ended, straight)
    assert list(ended.state) == list(straight.state)


def same_numbers(one: BufferResult, other: BufferResult) -> bool:
    return all(tensor.equal(other.state[name]) for name, tensor in one.state.items())


def test_what_was_sent_down_decides_where_it_is_less_than_the_model() -> None:
    """FedBN sends no normalisation layers down, and takes none from a device."""
    extra = lambda m: update(m, arrays(m) | {"1.weight": np.ones(2, np.float32)})  # noqa: E731
    ended = run_with(extra, "train", FedBN)
    assert "other tensors than were expected (1.weight)" in ended.failures()["device 'evil'"]


# ---------------------------------------------------------------------- replies of any kind

VALUES = st.one_of(
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.lists(st.floats(), max_size=3),
)
WORDS = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.booleans(),
    st.lists(st.text(max_size=5), max_size=3),
    st.lists(st.floats(), max_size=3),
)
NAMES = st.sampled_from(
    ["num-examples", "loss", "accuracy", "steps", "id", "task", "domain", "examples", "x", ""]
)
RECORDS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=5).map(MetricRecord),
    st.dictionaries(NAMES, WORDS, max_size=5).map(ConfigRecord),
    st.binary(max_size=300).map(bytes_record),
    st.dictionaries(
        st.sampled_from(["0.weight", "0.bias", "../x", "é", "a" * 300]),
        st.sampled_from(
            [np.ones((2, 3), np.float32), np.ones(2), np.ones(2, ">f4"), np.full(2, np.nan)]
        ),
    ).map(packed),
)
REPLIES = st.dictionaries(
    st.sampled_from(["arrays", "metrics", "client", "domains", "terms", "x"]), RECORDS, max_size=5
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "evaluate", INVITE])
def test_no_reply_ends_a_run_or_changes_a_number(kind: str) -> None:

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(REPLIES, st.booleans())
    def hold(records: dict[str, Any], filled_in: bool) -> None:
        def evil(message: Message) -> RecordDict:
            whole = {"train": update, "evaluate": scores}.get(kind)
            content = RecordDict(dict(whole(message)) if whole and filled_in else {})
            for name, record in records.items():
                content[name] = record
            return content

        ended = run_with(evil, kind)
        if ended.failures() or kind == INVITE:
            same(ended, without(kind))
        else:  # it was a reply as good as any
            assert filled_in

    hold()


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10_000), st.integers(0, 7), st.binary(min_size=1, max_size=4))
def test_no_damage_to_an_archive_is_believed(place: int, bit: int, inserted: bytes) -> None:
    """A flipped bit, and bytes put in: refused, or what was written."""
    buffer = io.BytesIO()
    before = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3), "n": np.asarray(4)}
    np.savez(buffer, **before)
    whole = buffer.getvalue()
    flipped = bytearray(whole)
    flipped[place % len(whole)] ^= 1 << bit
    longer = whole[: place % len(whole)] + inserted + whole[place % len(whole) :]
    for data in (bytes(flipped), longer):
        try:
            read = read_arrays(data)
        except ValueError:
            continue
        assert all(np.array_equal(read[n], v) for n, v in before.items() if n in read)
