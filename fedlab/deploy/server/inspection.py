"""Validation of a device's reply, before and while it is decoded.

The requirements follow from the message that was sent and from the device's reply to its
invitation. An invalid reply fails the device's round; the run continues.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedlab.deploy.readable import shown
from fedlab.federation.evaluation_reply import COUNTS
from fedlab.federation.record_layout import Expected, Form, Layout
from fedlab.metrics.metric_set import LOSS
from fedlab.records import PACKED, unpacked
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes

HEAD_BYTES = 1024
"""Largest overhead of an array in an archive in bytes, without its values and twice its name."""

WORDS_BYTES = 1 << 18
"""Largest size of a reply without its arrays in bytes: metrics, and error messages."""

LARGEST = float(np.finfo(np.float32).max)
"""Largest magnitude of a metric."""

FAR_OFF = 2.0**31
"""Largest change of an integer tensor (step counters) in a round."""

OLD = "install the same version of fedlab on both sides"


@dataclass(frozen=True)
class Expectation:
    """The requirements on the reply to a message.

    Attributes:
        client: The client's index.
        task: The message's id.
        expected: The reply's tensors, and the names of its metrics.
        sent: The tensors that went down.
        examples: The largest number of samples that it may report.
        train: Number of training samples of the device.
        domain: The device's domain, for a test; None for other messages.
        counts: The layout of metric counts in a test with samples, by metric and name.
        target: What is learnt.
    """

    client: int
    task: str
    expected: Expected
    sent: Mapping[str, ArrayRecord]
    examples: int
    train: int
    domain: str | None = None
    counts: Mapping[str, Form] = field(default_factory=dict)
    target: Target = field(default_factory=Classes)

    @property
    def largest(self) -> int:
        """Largest size of the reply in bytes."""
        layout = self.expected.layout.values() if self.domain is None else [self.counts]
        return WORDS_BYTES + sum(map(_packed_bytes, layout))

    def admit(self, content: RecordDict) -> RecordDict:
        """The reply with its tensors decoded, in the expected order.

        Raises:
            ValueError: If it does not meet the requirements, with the reason.
        """
        self._check_sender(content.get("client"))
        layout = self.expected.layout if self.domain is None else self._counted(content)
        known = {"metrics", "client", *layout} | ({"domains"} if self.domain is not None else set())
        if missing := known - content.keys():
            raise ValueError(f"its reply lacks records ({_named(missing)}); {OLD}")
        if more := content.keys() - known:
            raise ValueError(
                f"its reply has records that were not asked for ({_named(more)}); a method that "
                "sends up other records than it sends down has to say so (`Strategy.sent_up`)"
            )
        self._check_metrics(content["metrics"])
        if self.domain is not None:
            self._check_scores(content["domains"])
        records: dict[str, Any] = {
            name: self._record(name, content[name], forms) for name, forms in layout.items()
        }
        return RecordDict({**content, **records})

    def _counted(self, content: RecordDict) -> Layout:
        """The layout of the record of counts; empty if the device has no test samples."""
        table = content.get("domains")
        tested = isinstance(table, ConfigRecord) and bool(table.get("domain"))
        return {COUNTS: self.counts} if tested and self.counts else {}

    def _check_sender(self, client: object) -> None:
        if not isinstance(client, ConfigRecord) or client.keys() != {"id", "task"}:
            raise ValueError(f"its reply lacks records; {OLD}")
        if client["id"] != self.client:
            raise ValueError(f"its reply is that of client {shown(str(client['id']), 40)}")
        if client["task"] != self.task:
            raise ValueError("its reply is that to another message")

    def _check_metrics(self, metrics: object) -> None:
        if not isinstance(metrics, MetricRecord) or "num-examples" not in metrics:
            raise ValueError(f"its reply lacks records; {OLD}")
        wanted = set(self.target.always)
        if self.domain is None:
            wanted |= self.expected.metrics
        if more := metrics.keys() - wanted - {"num-examples"}:
            raise ValueError(
                f"it has sent metrics that are not known ({_named(more)}); a method that measures "
                "more has to name that (`Strategy.metrics`)"
            )
        for name, value in metrics.items():
            _check_number(f"its {name}", value)
        _check_count("samples", metrics["num-examples"], self.examples)
        self._check_score(metrics.get(self.target.score, 0.0))

    def _check_scores(self, domains: object) -> None:
        """Checks the results of a test: one domain, and at most the device's samples."""
        number = (int, float)
        wanted = {"domain": str, "examples": int, self.target.score: number, LOSS: number}
        if not isinstance(domains, ConfigRecord) or domains.keys() != wanted.keys():
            raise ValueError(f"its test lacks results; {OLD}")
        for name, kind in wanted.items():
            column = domains[name]
            if not isinstance(column, list) or not all(isinstance(v, kind) for v in column):
                raise ValueError(f"its test has a {name} of another type; {OLD}")
            if len(column) != len(domains["domain"]):  # type: ignore[arg-type]
                raise ValueError("its test has columns of different lengths")
        rows = list(zip(*(domains[name] for name in wanted), strict=True))  # type: ignore[arg-type]
        if any(row[0] != self.domain for row in rows) or len(rows) > 1:
            raise ValueError("it has tested on other domains than the one it has")
        for _, examples, score, loss in rows:
            _check_count("test samples", examples, self.examples)
            _check_number("its loss", loss)
            self._check_score(score)

    def _check_score(self, value: object) -> None:
        """A share, or a number that is not negative."""
        what = f"its {self.target.score.replace('_', ' ')}"
        most = 1 + 1e-6 if self.target.score_is_share else LARGEST
        if not isinstance(value, int | float) or not -1e-6 <= value <= most:
            raise ValueError(f"{what} is {shown(str(value), 40)}")

    def _record(self, record: str, packed: object, forms: Mapping[str, Form]) -> ArrayRecord:
        """One record, decoded; its layout is checked first, then its values."""
        if not isinstance(packed, ArrayRecord):
            raise ValueError(f"'{record}' has no tensors")
        array = packed.get(PACKED)
        if array is not None and len(array.data) > _packed_bytes(forms):
            raise ValueError(f"'{record}' has {len(array.data)} bytes, more than were sent to it")

        def accept(arrays: Mapping[str, tuple[np.dtype, tuple[int, ...]]]) -> None:
            if arrays.keys() != forms.keys():
                odd = arrays.keys() ^ forms.keys()
                raise ValueError(f"'{record}' has other tensors than were expected ({_named(odd)})")
            free: dict[str, int] = {}
            for name, form in forms.items():
                dtype, shape = arrays[name]
                if wrong := form.fault(dtype.name, shape, free):
                    raise ValueError(f"'{record}': '{name}' {wrong}")

        decoded = unpacked(packed, accept)
        sent = self.sent.get(record, {})
        for name, form in forms.items():
            values = decoded[name].numpy()
            if wrong := self._fault(form, values, sent.get(name)):
                raise ValueError(f"'{record}': '{name}' {wrong}")
        ordered = ArrayRecord()
        for name in forms:
            ordered[name] = decoded[name]
        return ordered

    def _fault(self, form: Form, values: np.ndarray, sent: Any) -> str:
        """Why a tensor's values are invalid; empty if they are valid."""
        if values.size == 0:
            return ""
        if np.issubdtype(values.dtype, np.floating):
            with np.errstate(over="ignore", invalid="ignore"):
                length = np.linalg.norm(values.ravel())  # in the precision of the values
            if not np.isfinite(length):
                return "has values that are not finite, or so large that their squares are not"
        elif form.low is None and form.high is None and sent is not None:
            # As floats, since the difference of two integers may overflow.
            moved = np.abs(values.astype(np.float64) - sent.numpy().astype(np.float64)).max()
            if moved > FAR_OFF:
                return f"has moved by {moved:.3g}"
        low, high = values.min(), values.max()
        if form.low is not None and low < form.low:
            return f"has a value of {low} below {form.low}"
        if form.high is not None and high > form.high:
            return f"has a value of {high} above {form.high}"
        if form.distinct and len(np.unique(values)) < values.size:
            return "has a value twice"
        if form.counts and values.astype(np.float64).sum() > self.train:
            return f"counts more samples than the {self.train} that the device has"
        return ""


def _packed_bytes(forms: Mapping[str, Form]) -> int:
    """Largest size of a packed record in bytes."""
    return HEAD_BYTES + sum(
        form.largest + HEAD_BYTES + 2 * len(name.encode()) for name, form in forms.items()
    )


def _check_number(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is no number")
    if not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{what} is {shown(str(value), 40)}")


def _check_count(what: str, value: object, most: int) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= most or not math.isfinite(value):
        said = shown(str(value), 40)
        raise ValueError(f"it speaks of {said} {what}, and has {most} by its own word")


def _named(names: set[str]) -> str:
    return shown(", ".join(sorted(map(str, names))), 100)
