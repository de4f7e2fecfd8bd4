"""Looks at every file that a run left: python3 check_run.py FOLDER (with results/ and graphs/ in it)."""

import csv
import json
import pathlib
import sys


def check(condition, message):
    if not condition:
        sys.exit(f"check_run.py: {message}")


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = list((folder / "results").iterdir())
    check(len(runs) == 1, f"expected one run, got {runs}")
    run = runs[0]
    manifest = json.loads((run / "manifest.json").read_text())
    check(manifest["ending"] == "complete", f"the run ended {manifest['ending']}")
    check(manifest["audit"]["consistent"], "stock and orders disagree")

    cells = list(csv.DictReader((run / "cells.csv").open()))
    check(len(cells) == len(manifest["plan"]), f"{len(cells)} cells of {len(manifest['plan'])}")
    for cell in cells:
        check(cell["verdict"] == "proved", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")

    samples = list(csv.DictReader((run / "samples.csv").open()))
    check(len(samples) == sum(int(cell["operations"]) for cell in cells), "samples.csv and cells.csv disagree")
    check(len({sample["client"] for sample in samples}) == manifest["scenario"]["clients"], "a client has no samples")

    summary = {(row["cell"], row["operation"]): row for row in csv.DictReader((run / "summary.csv").open())}
    rtt = {cell["cell"]: float(summary[cell["cell"], "view_products"]["rtt_p50_ms"]) for cell in cells}
    added = rtt["delay-100ms-r1"] - rtt["delay-0-r1"]
    check(98 <= added <= 102, f"delay 100 ms added {added:.2f} ms to the median RTT of view_products")
    conditions = {cell["condition"] for cell in cells}
    if "rate" in conditions:
        check(rtt["rate-100kbit-r1"] > rtt["delay-0-r1"] + 100, "rate 100 kbit/s does not show in view_products")
    check(all(cell["host_cpu_percent"] for cell in cells), "the driver does not know that the nodes are on its machine")

    for condition in conditions:
        for picture in ("latency-by-operation", "latency", "rtt", "ecdf", "errors"):
            for ending in ("png", "svg"):
                path = folder / "graphs" / run.name / f"{condition}-{picture}.{ending}"
                check(path.is_file() and path.stat().st_size > 2_000, f"{path} is missing or empty")
    print(f"{run.name}: {len(cells)} cells proved, {len(samples)} samples, delay 100 ms added {added:.2f} ms")


main()
