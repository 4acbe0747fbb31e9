"""The measurement of adaptation under other shares of classes: what it tests on, and its table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import shifted_shares
from benchmarks.shifted_shares import LongTailedDigits, main, scenario
from fedlab.preparation import prepare


def test_shares_fall_stay_and_rise_and_the_look_changes() -> None:
    chosen = scenario(0, rounds=1, train=1000, test=1000)
    prepared = prepare(chosen)
    pool, names = prepared.data.test, prepared.data.domain_names
    counts = {
        name: np.bincount(pool.labels[pool.domains == place]) for place, name in enumerate(names)
    }
    assert list(counts) == [
        *("plain, forward", "plain, uniform", "plain, backward"),
        *("dim, forward", "dim, uniform", "dim, backward"),
    ]
    for look in ("plain", "dim"):
        assert counts[f"{look}, forward"][[0, 9]].tolist() == [100, 10]
        assert counts[f"{look}, backward"].tolist() == counts[f"{look}, forward"][::-1].tolist()
        assert len(set(counts[f"{look}, uniform"].tolist())) == 1
        assert abs(sum(counts[f"{look}, uniform"]) - sum(counts[f"{look}, forward"])) < 10
    trained = np.bincount(prepared.data.train.labels[prepared.partition.train])
    assert trained[0] > 5 * trained[9]
    bright = [pool.inputs[pool.domains == place].mean() for place in (0, 3)]
    assert bright[1] - 60 == pytest.approx(bright[0] / 2, abs=5)


def test_runs_of_all_seeds_have_the_same_samples() -> None:
    assert LongTailedDigits(train=20).name == scenario(0, 1, 20, 20).data.sources[0].name
    first, other = (prepare(scenario(seed, 1, 300, 300)) for seed in (0, 1))
    assert np.array_equal(np.asarray(first.data.test.inputs), np.asarray(other.data.test.inputs))
    assert not np.array_equal(first.partition.train, other.partition.train)


@pytest.mark.slow
def test_a_table_has_every_method_and_the_paired_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {
        "none": {},
        shifted_shares.REFERENCE: {"method": "batch_statistics"},
        "adapter": {"method": "label_shift_adapter", "rounds": 1},
    }
    monkeypatch.setattr(shifted_shares, "METHODS", few)
    main(["--seeds", "2", "--rounds", "1", "--train", "600", "--test", "300"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert [row.split("|")[1] for row in rows] == ["method", *few]
    assert "plain, backward|dim, forward" in rows[0]
    assert all(row.count("±") == 6 for row in rows[1:])
    assert "[" in rows[3]
    assert "[" not in rows[2]
