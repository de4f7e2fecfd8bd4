"""Compares runs of one scenario with netem and with the shaper, as a Markdown table: python3 compare.py DIRECTORY.
Each of its subdirectories is named after an emulator and contains the results/ of one run."""

import csv
import json
import pathlib
import statistics
import sys

OPERATION = "view_products"


class Run:
    def __init__(self, directory):
        (run,) = (directory / "results").iterdir()
        self.name = directory.name
        self.manifest = json.loads((run / "manifest.json").read_text())
        self.cells = {cell["cell"]: cell for cell in csv.DictReader((run / "cells.csv").open())}
        self.rtt, self.page = {}, {}
        for sample in csv.DictReader((run / "samples.csv").open()):
            if sample["operation"] == OPERATION and sample["outcome"] == "ok":
                self.rtt.setdefault(sample["cell"], []).append(float(sample["rtt_ms"]))
                self.page[sample["cell"]] = int(sample["response_bytes"])

    def value(self, measure, cell):
        """Returns the measured value, or a dash if it is missing."""
        try:
            return measure(self, cell)
        except (KeyError, ValueError, statistics.StatisticsError):
            return "—"

    def added_delay(self, cell):
        row = self.cells[cell]
        mean = (float(row["probe_before_rtt_ms"]) + float(row["probe_after_rtt_ms"])) / 2
        return f"{mean - float(row['baseline_rtt_ms']):.2f} ms"

    def probe_loss(self, cell):
        row = self.cells[cell]
        lost, sent = int(row["probe_lost"]), int(row["probe_sent"])
        return f"{100 * lost / sent:.1f} % ({lost} of {sent})"

    def link_loss(self, cell):
        row = self.cells[cell]
        dropped, sent = int(row["link_dropped"]), int(row["link_sent"])
        return f"{100 * dropped / (dropped + sent):.1f} % ({dropped} of {dropped + sent})"

    def rate(self, cell):
        return f"{float(self.cells[cell]['achieved_rate_kbit']):.0f} kbit/s"

    def median(self, cell):
        return f"{statistics.median(self.rtt[cell]):.1f} ms"

    def slow_pages(self, cell):
        slow = sum(rtt > 100 for rtt in self.rtt[cell])
        return f"{100 * slow / len(self.rtt[cell]):.0f} % ({slow} of {len(self.rtt[cell])})"

    def verdict(self, cell):
        return self.cells[cell]["verdict"]


def ideal_page_ms(page_bytes, rate):
    """Returns the transmission time in ms of a page and the headers of its segments (IP 20, TCP 32 with timestamps)."""
    segments = -(-page_bytes // 1448)
    return (page_bytes + segments * 52) * 8 / rate * 1000


def main():
    runs = [Run(directory) for directory in sorted(pathlib.Path(sys.argv[1]).iterdir())]
    page = next(iter(runs[0].page.values()))
    combined = "combined-50ms+1%+1Mbit-r1"
    at_1mbit = f"{ideal_page_ms(page, 1e6):.0f} ms"
    rows = [
        ("baseline: median RTT of a page", "", Run.median, "loss-0%-r1"),
        ("delay 50 ms: probe", "50 ms added", Run.added_delay, "delay-50ms-r1"),
        ("delay 50 ms: median RTT of a page", "50 ms more", Run.median, "delay-50ms-r1"),
        ("loss 5 %: probe", "5 %", Run.probe_loss, "loss-5%-r1"),
        ("loss 5 %: the emulator's counters", "5 %", Run.link_loss, "loss-5%-r1"),
        ("loss 5 %: pages with an RTT over 100 ms", "", Run.slow_pages, "loss-5%-r1"),
        ("rate 1 Mbit/s: probe", "1000 kbit/s", Run.rate, "rate-1Mbit-r1"),
        ("rate 1 Mbit/s: median RTT of a page", at_1mbit, Run.median, "rate-1Mbit-r1"),
        ("rate 10 Mbit/s: probe", "10000 kbit/s", Run.rate, "rate-10Mbit-r1"),
        ("rate 10 Mbit/s: median RTT of a page", f"{ideal_page_ms(page, 1e7):.1f} ms", Run.median, "rate-10Mbit-r1"),
        ("50 ms, 1 % and 1 Mbit/s combined: delay", "50 ms added", Run.added_delay, combined),
        ("… loss: probe", "1 %", Run.probe_loss, combined),
        ("… rate", "1000 kbit/s", Run.rate, combined),
        ("… median RTT of a page", f"{ideal_page_ms(page, 1e6) + 50:.0f} ms", Run.median, combined),
        ("… verdict", "verified", Run.verdict, combined),
    ]
    print(f"A page has {page} bytes and is requested over one persistent connection.\n")
    print("| condition | requested | " + " | ".join(run.name for run in runs) + " |")
    print("|---|---|" + "---|" * len(runs))
    for quantity, requested, measure, cell in rows:
        print(f"| {quantity} | {requested} | " + " | ".join(run.value(measure, cell) for run in runs) + " |")
    unverified = [
        f"{run.name} {cell} is {row['verdict']}: {row['problems']}"
        for run in runs
        for cell, row in run.cells.items()
        if row["verdict"] != "verified"
    ]
    print("\n" + ("\n".join(unverified) if unverified else "All cells verified."))


main()
