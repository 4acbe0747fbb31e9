"""Published orders of methods, put to the test by a protocol (docs/evidence.md).

A claim is a file in ``claims``: studies, each a scenario with methods that are tuned alike, and
comparisons, by which the claim is confirmed or refuted.
"""
