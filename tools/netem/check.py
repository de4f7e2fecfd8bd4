"""Checks the files of a run with real netem: python3 check.py BACKEND DIRECTORY (which contains results/ and graphs/)."""

import csv
import json
import pathlib
import sys


def check(condition, message):
    if not condition:
        sys.exit(f"check.py: {message}")


def main():
    backend, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    runs = list((folder / "results").iterdir())
    check(len(runs) == 1, f"expected one run, got {runs}")
    run = runs[0]
    manifest = json.loads((run / "manifest.json").read_text())
    check(manifest["status"] == "completed", f"the run is {manifest['status']}")
    check(manifest["backend"] == backend, f"the backend was {manifest['backend']}")
    check(manifest["emulator"] == "tcset", f"the emulator was {manifest['emulator']}: {manifest['emulator_reason']}")
    orders = manifest["order_check"]
    check(orders["consistent"] and not manifest["order_check_skipped"], "stock and orders are inconsistent")
    check(orders["acknowledged"] <= orders["stored"], f"{orders['acknowledged']} orders acknowledged, {orders['stored']} stored")

    cells = list(csv.DictReader((run / "cells.csv").open()))
    check([cell["cell"] for cell in cells] == [cell["id"] for cell in manifest["plan"]], "cells.csv is not the plan")
    samples = list(csv.DictReader((run / "samples.csv").open()))
    check(len({sample["client"] for sample in samples}) == manifest["scenario"]["clients"], "a client has no samples")
    for cell in cells:
        check(cell["verdict"] == "verified", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")
        of_cell = [sample for sample in samples if sample["cell"] == cell["cell"]]
        tried = int(cell["operations"]) + int(cell["warm_up_operations"])
        check(of_cell and len(of_cell) == tried, f"samples.csv and cells.csv disagree in {cell['cell']}")
        check_link(cell, [sample for sample in of_cell if sample["outcome"] == "ok"])

    for condition in {cell["condition"] for cell in cells}:
        for graph in ("latency-by-operation", "latency", "rtt", "ecdf", "errors"):
            for ending in ("png", "svg"):
                path = folder / "graphs" / run.name / f"{condition}-{graph}.{ending}"
                check(path.is_file() and path.stat().st_size > 2_000, f"{path} is missing or empty")
    print(f"{run.name}: backend {backend}, emulator tcset, {len(cells)} cells verified, {len(samples)} samples")


def check_link(cell, samples):
    """Netem imposed the condition, and operations show it."""
    name, magnitude = cell["cell"], float(cell["magnitude"])
    netem = "netem" in cell["read_back"] and "no netem" not in cell["read_back"]
    check(netem == (cell["baseline"] == "false"), f"{name}: the kernel had {cell['read_back']}")
    if cell["condition"] == "delay":
        quickest = min(float(sample["rtt_ms"]) for sample in samples)
        check(magnitude <= quickest < magnitude + 10, f"{name}: the quickest answer took {quickest} ms")
    elif cell["condition"] == "loss" and magnitude > 0:
        check(int(cell["probe_lost"]) > 0, f"{name}: the probe lost nothing")
    elif cell["condition"] == "rate" and magnitude <= 100:
        # Connecting included: a page is let through as one burst, and what comes after it has to wait.
        slowest = max(float(sample["latency_ms"]) for sample in samples)
        check(slowest > 100, f"{name}: the slowest operation took {slowest} ms")


main()
