"""Checks that no operation of a run failed: python3 check_clients.py DIRECTORY CLIENTS (which contains results/)."""

import csv
import json
import pathlib
import sys


def check(condition, message):
    if not condition:
        sys.exit(f"check_clients.py: {message}")


def main():
    directory, clients = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    runs = list((directory / "results").iterdir())
    check(len(runs) == 1, f"expected one run in results/, got {runs}")
    manifest = json.loads((runs[0] / "manifest.json").read_text())
    cells = list(csv.DictReader((runs[0] / "cells.csv").open()))
    check(len(cells) == len(manifest["plan"]), f"cells.csv has {len(cells)} of {len(manifest['plan'])} cells")
    for cell in cells:
        check(cell["verdict"] == "verified", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")
        check(cell["errors"] == "0", f"{cell['errors']} operations failed in {cell['cell']}")
    samples = list(csv.DictReader((runs[0] / "samples.csv").open()))
    with_samples = len({sample["client"] for sample in samples})
    check(with_samples == clients, f"{with_samples} of {clients} clients have samples")
    print(f"{with_samples} clients, {len(samples)} operations, 0 errors; nodes started in {manifest['node_startup_s']:.2f} s")


main()
