"""Checks every file of a run: python3 check_run.py DIRECTORY (which contains results/ and graphs/)."""

import csv
import json
import pathlib
import sys


def check(condition, message):
    if not condition:
        sys.exit(f"check_run.py: {message}")


def check_breakdown(rows):
    """The components of each latency add up to it."""
    components = ("queueing", "handshake", "round_trips", "transmission", "retransmission", "server", "database", "other")
    check(any(row["subset"] == "all" for row in rows), "breakdown.csv is empty")
    for row in rows:
        whole, together = float(row["latency_ms"]), sum(float(row[f"{name}_ms"]) for name in components)
        check(abs(whole - together) < 1e-6 * max(1, whole), f"{row}: the components add up to {together}")
    for row in rows:
        if (row["condition"], row["value"], row["operation"], row["subset"]) == ("delay", "100ms", "all", "all"):
            for component in ("handshake", "round_trips"):
                took = float(row[f"{component}_ms"])
                check(98 <= took <= 120, f"delay 100 ms: {component} took {took} ms on average")


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = list((folder / "results").iterdir())
    check(len(runs) == 1, f"expected one run, got {runs}")
    run = runs[0]
    manifest = json.loads((run / "manifest.json").read_text())
    check(manifest["status"] == "completed", f"the run is {manifest['status']}")
    orders = manifest["order_check"]
    check(orders["consistent"] and not manifest["order_check_skipped"], "stock and orders are inconsistent")
    check(orders["acknowledged"] <= orders["stored"], f"{orders['acknowledged']} orders acknowledged, {orders['stored']} stored")

    cells = list(csv.DictReader((run / "cells.csv").open()))
    check(len(cells) == len(manifest["plan"]), f"{len(cells)} cells of {len(manifest['plan'])}")
    for cell in cells:
        check(cell["verdict"] == "verified", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")

    samples = list(csv.DictReader((run / "samples.csv").open()))
    tried = sum(int(cell["operations"]) + int(cell["warm_up_operations"]) for cell in cells)
    check(len(samples) == tried, "samples.csv and cells.csv disagree")
    known = sum(1 for sample in samples if sample["outcome"] == "ok" and sample["server_tcp_retransmits"])
    ok = sum(1 for sample in samples if sample["outcome"] == "ok")
    check(known >= 0.99 * ok, f"server trace for only {known} of {ok} exchanges")
    check(len({sample["client"] for sample in samples}) == manifest["scenario"]["clients"], "a client has no samples")

    summary = {(row["cell"], row["operation"]): row for row in csv.DictReader((run / "summary.csv").open())}
    rtt = {cell["cell"]: float(summary[cell["cell"], "view_products"]["rtt_p50_ms"]) for cell in cells}
    added = rtt["delay-100ms-r1"] - rtt["delay-0-r1"]
    check(98 <= added <= 120, f"delay 100 ms added {added:.2f} ms to the median RTT of view_products")
    conditions = {cell["condition"] for cell in cells}
    if "rate" in conditions:
        check(rtt["rate-100kbit-r1"] > rtt["delay-0-r1"] + 100, "rate 100 kbit/s does not show in view_products")
    check(all(cell["host_cpu_percent"] for cell in cells), "the driver does not know that the nodes are on its host")

    check_breakdown(list(csv.DictReader((run / "breakdown.csv").open())))
    check((run / "intervals.csv").is_file(), "intervals.csv is missing")
    for condition in conditions:
        for graph in ("latency-by-operation", "latency", "rtt", "ecdf", "errors", "breakdown"):
            for ending in ("png", "svg"):
                path = folder / "graphs" / run.name / f"{condition}-{graph}.{ending}"
                check(path.is_file() and path.stat().st_size > 2_000, f"{path} is missing or empty")
    print(f"{run.name}: {len(cells)} cells verified, {len(samples)} samples, delay 100 ms added {added:.2f} ms")


main()
