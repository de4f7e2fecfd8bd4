"""Looks at every file that a run left: python3 check_run.py FOLDER (with results/ and graphs/ in it)."""

import csv
import json
import pathlib
import sys


def check(condition, message):
    if not condition:
        sys.exit(f"check_run.py: {message}")


def check_breakdown(rows):
    """The parts of each latency add up to it."""
    parts = ("waiting", "handshake", "round_trips", "transmission", "stalls", "server", "disk", "other")
    check(any(row["share"] == "every" for row in rows), "breakdown.csv is empty")
    for row in rows:
        whole, together = float(row["latency_ms"]), sum(float(row[f"{part}_ms"]) for part in parts)
        check(abs(whole - together) < 1e-6 * max(1, whole), f"{row}: the parts make {together}")
    for row in rows:
        if (row["condition"], row["value"], row["operation"], row["share"]) == ("delay", "100ms", "all", "every"):
            for part in ("handshake", "round_trips"):
                took = float(row[f"{part}_ms"])
                check(98 <= took <= 120, f"delay 100 ms: {part} took {took} ms on average")


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = list((folder / "results").iterdir())
    check(len(runs) == 1, f"expected one run, got {runs}")
    run = runs[0]
    manifest = json.loads((run / "manifest.json").read_text())
    check(manifest["ending"] == "complete", f"the run ended {manifest['ending']}")
    books = manifest["audit"]
    check(books["consistent"] and not manifest["books_unchecked"], "stock and orders disagree")
    check(books["promised"] <= books["orders"], f"{books['promised']} orders promised, {books['orders']} kept")

    cells = list(csv.DictReader((run / "cells.csv").open()))
    check(len(cells) == len(manifest["plan"]), f"{len(cells)} cells of {len(manifest['plan'])}")
    for cell in cells:
        check(cell["verdict"] == "proved", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")

    samples = list(csv.DictReader((run / "samples.csv").open()))
    tried = sum(int(cell["operations"]) + int(cell["warm_up_operations"]) for cell in cells)
    check(len(samples) == tried, "samples.csv and cells.csv disagree")
    known = sum(1 for sample in samples if sample["outcome"] == "ok" and sample["server_tcp_retransmits"])
    ok = sum(1 for sample in samples if sample["outcome"] == "ok")
    check(known >= 0.99 * ok, f"the server's side is known of {known} of {ok} exchanges only")
    check(len({sample["client"] for sample in samples}) == manifest["scenario"]["clients"], "a client has no samples")

    summary = {(row["cell"], row["operation"]): row for row in csv.DictReader((run / "summary.csv").open())}
    rtt = {cell["cell"]: float(summary[cell["cell"], "view_products"]["rtt_p50_ms"]) for cell in cells}
    added = rtt["delay-100ms-r1"] - rtt["delay-0-r1"]
    check(98 <= added <= 120, f"delay 100 ms added {added:.2f} ms to the median RTT of view_products")
    conditions = {cell["condition"] for cell in cells}
    if "rate" in conditions:
        check(rtt["rate-100kbit-r1"] > rtt["delay-0-r1"] + 100, "rate 100 kbit/s does not show in view_products")
    check(all(cell["host_cpu_percent"] for cell in cells), "the driver does not know that the nodes are on its machine")

    check_breakdown(list(csv.DictReader((run / "breakdown.csv").open())))
    check((run / "intervals.csv").is_file(), "intervals.csv is missing")
    for condition in conditions:
        for picture in ("latency-by-operation", "latency", "rtt", "ecdf", "errors", "breakdown"):
            for ending in ("png", "svg"):
                path = folder / "graphs" / run.name / f"{condition}-{picture}.{ending}"
                check(path.is_file() and path.stat().st_size > 2_000, f"{path} is missing or empty")
    print(f"{run.name}: {len(cells)} cells proved, {len(samples)} samples, delay 100 ms added {added:.2f} ms")


main()
