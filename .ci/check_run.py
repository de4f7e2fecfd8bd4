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
    components = ("queueing", "handshake", "tls", "round_trips", "transmission", "retransmission", "server", "database", "other")
    check(any(row["subset"] == "all" for row in rows), "breakdown.csv is empty")
    for row in rows:
        latency, total = float(row["latency_ms"]), sum(float(row[f"{name}_ms"]) for name in components)
        check(abs(latency - total) < 1e-6 * max(1, latency), f"{row}: the components add up to {total}")
    for row in rows:
        if (row["condition"], row["value"], row["operation"], row["subset"]) == ("delay", "100ms", "all", "all"):
            for component in ("handshake", "round_trips"):
                mean = float(row[f"{component}_ms"])
                check(98 <= mean <= 120, f"delay 100 ms: expected a mean {component} of 98 to 120 ms, got {mean} ms")


def main():
    directory = pathlib.Path(sys.argv[1])
    runs = list((directory / "results").iterdir())
    check(len(runs) == 1, f"expected one run in results/, got {runs}")
    run = runs[0]
    manifest = json.loads((run / "manifest.json").read_text())
    check(manifest["status"] == "completed", f"expected status completed, got {manifest['status']}")
    orders = manifest["order_check"]
    check(orders["consistent"] and not manifest["order_check_skipped"], "stock and orders are inconsistent")
    acknowledged, stored = orders["acknowledged"], orders["stored"]
    check(acknowledged <= stored, f"{acknowledged} orders acknowledged, {stored} stored")

    cells = list(csv.DictReader((run / "cells.csv").open()))
    check(len(cells) == len(manifest["plan"]), f"cells.csv has {len(cells)} of {len(manifest['plan'])} cells")
    for cell in cells:
        check(cell["verdict"] == "verified", f"{cell['cell']} is {cell['verdict']}: {cell['problems']}")

    samples = list(csv.DictReader((run / "samples.csv").open()))
    operations = sum(int(cell["operations"]) + int(cell["warm_up_operations"]) for cell in cells)
    check(len(samples) == operations, f"samples.csv has {len(samples)} rows, cells.csv counts {operations} operations")
    for cell in cells:
        path = run / "metrics" / f"{cell['cell']}.csv"
        metrics = {row["metric"]: float(row["value"]) for row in csv.DictReader(path.open())}
        placed = sum(1 for sample in samples if (sample["cell"], sample["operation"], sample["outcome"]) == (cell["cell"], "place_order", "ok"))
        counted = metrics.get('shop_operations_total{command="place_order",outcome="ok"}', 0)
        # The shop also counts operations that were unfinished at the client.
        check(placed <= counted <= placed + int(cell["unfinished"]), f"{cell['cell']}: {placed} orders in samples.csv, {counted:.0f} in its metrics")
    traced = sum(1 for sample in samples if sample["outcome"] == "ok" and sample["server_tcp_retransmits"])
    ok = sum(1 for sample in samples if sample["outcome"] == "ok")
    check(traced >= 0.99 * ok, f"server trace for only {traced} of {ok} exchanges")
    check(len({sample["client"] for sample in samples}) == manifest["scenario"]["clients"], "a client has no samples")

    summary = {(row["cell"], row["operation"]): row for row in csv.DictReader((run / "summary.csv").open())}
    rtt = {cell["cell"]: float(summary[cell["cell"], "view_products"]["rtt_p50_ms"]) for cell in cells}
    added = rtt["delay-100ms-r1"] - rtt["delay-0-r1"]
    check(98 <= added <= 120, f"delay 100 ms: expected +98 to +120 ms median RTT of view_products, got {added:+.2f} ms")
    conditions = {cell["condition"] for cell in cells}
    if "rate" in conditions:
        added_by_rate = rtt["rate-100kbit-r1"] - rtt["delay-0-r1"]
        check(added_by_rate > 100, f"rate 100 kbit/s: expected over +100 ms median RTT, got {added_by_rate:+.2f} ms")
    local = all(cell["host_cpu_percent"] for cell in cells)
    check(local, "host_cpu_percent is empty: the driver does not recognise that the nodes run on its host")

    check_breakdown(list(csv.DictReader((run / "breakdown.csv").open())))
    check((run / "intervals.csv").is_file(), "intervals.csv is missing")
    for condition in conditions:
        for graph in ("latency-by-operation", "latency", "rtt", "ecdf", "errors", "breakdown"):
            for extension in ("png", "svg"):
                path = directory / "graphs" / run.name / f"{condition}-{graph}.{extension}"
                check(path.is_file() and path.stat().st_size > 2_000, f"{path} is missing or smaller than 2 kB")
    print(f"{run.name}: {len(cells)} cells verified, {len(samples)} samples, delay 100 ms added {added:.2f} ms")


main()
