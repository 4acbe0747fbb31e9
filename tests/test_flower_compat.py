"""The contract with the names of Flower that are not public: one test for each."""

import pickle
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedlab import flower_compat
from fedlab.records import (
    PACKED,
    from_record,
    from_wire,
    payload_bytes,
    to_record,
    to_wire,
)


@pytest.fixture
def message() -> Message:
    flower_compat.assume_identity()
    content = RecordDict({"config": ConfigRecord({"server-round": 1})})
    return flower_compat.stamp(Message(content, dst_node_id=7, message_type="train"))


def test_an_identity_lets_messages_be_made(message: Message) -> None:
    assert message.metadata.src_node_id == 1
    assert message.metadata.message_id


def test_a_stamp_is_kept(message: Message) -> None:
    first = message.metadata.message_id
    assert flower_compat.stamp(message).metadata.message_id == first


def test_messages_are_rebuilt_from_metadata(message: Message) -> None:
    again = flower_compat.message_for(message.metadata, RecordDict())
    assert again.metadata == message.metadata
    assert again.has_content()


def test_records_with_known_values_are_those_that_flower_checks() -> None:
    metrics, client = {"loss": 0.5, "num-examples": 3}, {"id": 7}
    ours = flower_compat.with_values(
        RecordDict(),
        {
            "metrics": flower_compat.with_values(MetricRecord(), metrics),
            "client": flower_compat.with_values(ConfigRecord(), client),
        },
    )
    theirs = RecordDict({"metrics": MetricRecord(metrics), "client": ConfigRecord(client)})  # type: ignore[arg-type]
    assert ours == theirs
    assert ours.deflate() == theirs.deflate()
    assert list(ours.metric_records) == ["metrics"]


def test_replies_without_their_message_are_flowers(message: Message) -> None:
    content = RecordDict({"metrics": MetricRecord({"loss": 0.5})})
    ours, theirs = (
        flower_compat.reply_for(message.metadata, content),
        Message(content, reply_to=message),
    )
    assert ours.content is content
    assert not ours.has_error()
    expires = [m.metadata.created_at + m.metadata.ttl for m in (ours, theirs)]
    assert expires[0] == pytest.approx(expires[1])
    assert _without_times(ours) == _without_times(theirs)


def test_messages_to_other_nodes_are_flowers(message: Message) -> None:
    content = RecordDict()
    ours = flower_compat.message_to(9, message, content)
    theirs = Message(content, dst_node_id=9, message_type="train")
    assert ours.content is content
    assert not ours.metadata.message_id
    assert _without_times(ours) == _without_times(theirs)
    assert message.metadata.dst_node_id == 7


def _without_times(message: Message) -> dict[str, object]:
    parts = {**vars(message), **vars(message.metadata)}
    return {k: v for k, v in parts.items() if k not in ("_metadata", "_created_at", "_ttl")}


@pytest.mark.parametrize("crashed", [False, True])
def test_error_replies_name_the_sender(message: Message, crashed: bool) -> None:
    reply = flower_compat.error_reply(message, "because", crashed=crashed)
    assert reply.has_error()
    assert reply.error.reason == "because"
    assert reply.metadata.src_node_id == 7
    assert reply.metadata.reply_to_message_id == message.metadata.message_id


def test_contexts_carry_flowers_own_keys() -> None:
    context = flower_compat.client_context(7, 3, 10, RecordDict())
    assert context.node_config == {"partition-id": 3, "num-partitions": 10}


def test_arrays_keep_values_and_make_flowers_wire_bytes() -> None:
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(4)}
    record = to_record(tensors)
    assert isinstance(record, ArrayRecord)
    assert payload_bytes(RecordDict({"arrays": record})) == 6 * 4 + 8
    theirs = ArrayRecord(tensors)
    assert record["w"].data == theirs["w"].data
    for back in (
        from_record(record),
        from_record(theirs),
        from_record(pickle.loads(pickle.dumps(record))),
    ):
        assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert np.shares_memory(record["w"].numpy(), tensors["w"].numpy())


def test_records_travel_as_one_array_each_and_arrive_as_they_were() -> None:
    tensors = {"file": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(4), "a/b": torch.ones(0)}
    sent = RecordDict({"arrays": to_record(tensors), "none": to_record({}), "c": ConfigRecord()})
    packed = to_wire(sent)
    assert [len(packed[name]) for name in ("arrays", "none")] == [1, 1]
    arrived = from_wire(packed)
    back = from_record(arrived["arrays"])  # type: ignore[arg-type]
    assert list(back) == list(tensors)
    assert all(torch.equal(back[key], tensors[key]) for key in tensors)
    assert all(back[key].dtype == tensors[key].dtype for key in tensors)
    assert not arrived["none"]


def zipped(member: bytes) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as file:
        file.writestr("w.npy", member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"PK" + b"?" * 40,
        b"",
        pickle.dumps([1]),
        zipped(b"not an array"),
        zipped(b"\x93NUMPY\x01\x00\x02\x00{}"),
    ],
    ids=["half an archive", "nothing", "a pickle", "no array", "half an array"],  # not its bytes,
    # which have the time: two processes would collect tests of different names
)
def test_damaged_records_are_refused(data: bytes) -> None:
    packed = to_wire(RecordDict({"arrays": to_record({"w": torch.ones(2)})}))
    packed["arrays"][PACKED].data = data  # type: ignore[index, union-attr]
    with pytest.raises(ValueError, match="damaged tensors"):
        from_wire(packed)
    with pytest.raises(ValueError, match="damaged tensors"):
        from_wire(RecordDict({"theirs": ArrayRecord({"w": torch.ones(2)})}))
