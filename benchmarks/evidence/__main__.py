"""Runs claims, and says what their rows say.

python -m benchmarks.evidence run ggeur --data DATA --for 30
python -m benchmarks.evidence report
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.evidence import claim as claims
from benchmarks.evidence import running_claims, summary


def main(arguments: list[str] | None = None) -> int:
    """The command line.

    Returns:
        0; 2 for what cannot be run, or that of a command of fedlab that failed; 3 where the time
        was over before a claim was through.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run claims, or go on with them")
    run.add_argument("claims", nargs="*", metavar="CLAIM", help="all by default")
    run.add_argument(
        "--study", action="append", default=[], help="one of its studies alone, or several"
    )
    run.add_argument("--data", help="root of the data that do not come with fedlab")
    run.add_argument("--digits-five", help="what benchmarks.prepare_digits_five wrote")
    run.add_argument("--out", type=Path, default=Path("runs/evidence"), help="folder of the runs")
    run.add_argument("--for", dest="minutes", type=float, metavar="MINUTES", help="stop after that")
    verbs.add_parser("report", help="differences, intervals and verdicts of the rows there are")
    given = parser.parse_args(arguments)
    if given.verb == "report":
        print(summary.report(), end="")
        return 0
    roots = {"DATA": given.data, "DIGITS_FIVE": given.digits_five}
    whole = True
    for name in given.claims or claims.names():
        try:
            whole &= running_claims.run(
                claims.read(name), roots, given.out / name, given.minutes, tuple(given.study)
            )
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        except subprocess.CalledProcessError as error:  # fedlab has said why
            print(f"{name}: fedlab {error.cmd[1]} failed, as it says above", file=sys.stderr)
            return error.returncode
    if not whole:
        print("the time is over; the same command goes on from here", file=sys.stderr)
    return 0 if whole else 3


if __name__ == "__main__":
    sys.exit(main())
