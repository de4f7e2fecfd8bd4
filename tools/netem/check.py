"""Checks the files of a run with real netem: python3 check.py BACKEND DIRECTORY (contains results/ and graphs/)."""

import csv
import json
import pathlib
import sys


def check(condition, message):
    if not condition:
        sys.exit(f"check.py: {message}")


def main():
    backend, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    runs = list((directory / "results").iterdir())
    check(len(runs) == 1, f"expected one run in results/, got {runs}")
    run = runs[0]
    manifest = json.loads((run / "manifest.json").read_text())
    check(manifest["status"] == "completed", f"expected status completed, got {manifest['status']}")
    check(manifest["backend"] == backend, f"expected backend {backend}, got {manifest['backend']}")
    emulator, reason = manifest["emulator"], manifest["emulator_reason"]
    check(emulator == "tcset", f"expected emulator tcset, got {emulator}: {reason}")
    orders = manifest["order_check"]
    check(orders["consistent"] and not manifest["order_check_skipped"], "stock and orders are inconsistent")
    acknowledged, stored = orders["acknowledged"], orders["stored"]
    check(acknowledged <= stored, f"{acknowledged} orders acknowledged, {stored} stored")

    cells = list(csv.DictReader((run / "cells.csv").open()))
    planned, measured = [cell["id"] for cell in manifest["plan"]], [cell["cell"] for cell in cells]
    check(measured == planned, f"expected cells {planned}, got {measured}")
    samples = list(csv.DictReader((run / "samples.csv").open()))
    check(len({sample["client"] for sample in samples}) == manifest["scenario"]["clients"], "a client has no samples")
    for cell in cells:
        check(cell["verdict"] == "verified", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")
        of_cell = [sample for sample in samples if sample["cell"] == cell["cell"]]
        operations = int(cell["operations"]) + int(cell["warm_up_operations"])
        counts = f"{len(of_cell)} rows in samples.csv, {operations} operations in cells.csv"
        check(of_cell and len(of_cell) == operations, f"{cell['cell']}: {counts}")
        check_link(cell, [sample for sample in of_cell if sample["outcome"] == "ok"])

    for condition in {cell["condition"] for cell in cells}:
        for graph in ("latency-by-operation", "latency", "rtt", "ecdf", "errors"):
            for extension in ("png", "svg"):
                path = directory / "graphs" / run.name / f"{condition}-{graph}.{extension}"
                check(path.is_file() and path.stat().st_size > 2_000, f"{path} is missing or smaller than 2 kB")
    print(f"{run.name}: backend {backend}, emulator tcset, {len(cells)} cells verified, {len(samples)} samples")


def check_link(cell, samples):
    """Checks that netem imposed the condition and that the operations were affected by it."""
    name, magnitude = cell["cell"], float(cell["magnitude"])
    netem = "netem" in cell["read_back"] and "no netem" not in cell["read_back"]
    check(netem == (cell["baseline"] == "false"), f"{name}: unexpected readback: {cell['read_back']}")
    if cell["condition"] == "delay":
        lowest = min(float(sample["rtt_ms"]) for sample in samples)
        check(magnitude <= lowest < magnitude + 10, f"{name}: the minimum RTT is {lowest} ms")
    elif cell["condition"] == "loss" and magnitude > 0:
        check(int(cell["probe_lost"]) > 0, f"{name}: the probe lost no packet")
    elif cell["condition"] == "rate" and magnitude <= 100:
        # Latency, not RTT: a page passes as one burst, and the packets after it, including handshakes, have to wait.
        highest = max(float(sample["latency_ms"]) for sample in samples)
        check(highest > 100, f"{name}: the maximum latency is {highest} ms")


main()
