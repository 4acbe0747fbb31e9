"""A claim of minutes, from its file to its verdict: FedBN is ahead of FedAvg on small domains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.evidence import claim as claims
from benchmarks.evidence import evidence_rows, running_claims, summary
from benchmarks.evidence.verdict import judge, verdict_of

CLAIM = """
claim: small
letter: s
title: FedBN beats FedAvg on small domains
measure: own
scenario: fraug_small_domains
seeds: 4
budget: 2
space: {shared: {training.optimizer.lr: {log: [0.01, 0.1]}}}
overrides:
  rounds: 20
  evaluation.every: 10
  model: {name: small_cnn, widths: [8, 16, 32]}
  data.sources: [{name: digits, train_per_domain: 60, test_per_domain: 200}]
studies:
  embedded: {overrides: {}, methods: {fedavg: fedavg, fedbn: fedbn}}
  chosen: {chosen_in: embedded, overrides: {rounds: 2}, methods: {fedavg: fedavg, fedbn: fedbn}}
comparisons:
  - {study: embedded, method: fedbn, over: fedavg}
"""

LEAST = 1.5
"""Points by which FedBN has to be ahead: measured were 3.6 with a standard error of 1.05 over four
seeds (6.5, 3.7, 2.7 and 1.6), and this is two of them less."""


@pytest.mark.slow
def test_the_order_of_a_small_claim_holds(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CLAIM)
    claim = claims.read("small", tmp_path)
    folders, results = tmp_path / "runs", tmp_path / "results"
    assert not running_claims.run(claim, {}, folders, minutes=0, results=results)
    assert running_claims.run(claim, {}, folders, results=results)
    rows = evidence_rows.read("small", results)
    assert len(rows) == 2 * 2 * 4
    assert set(rows["machine"]) == {rows["machine"].iloc[0]}
    (judged,) = judge(claim, summary.means_of(rows))
    assert judged.difference.mean > LEAST
    assert verdict_of([judged]) == judged.verdict
    # What was chosen in one study is used in the other.
    for _, of_method in rows.groupby("method"):
        assert of_method["chosen"].nunique() == 1
    assert all(isinstance(json.loads(text), dict) for text in rows["chosen"])
    curve = evidence_rows.read_curve("small", results)
    assert set(curve["round"]) == {2, 10, 20}
    assert (curve["low"] <= curve["mean"]).all()
