#!/usr/bin/python3
"""Replay says the same for any number of workers, also when every packet goes to the wrong worker first: bytes on stdout, sums
of records, and both agree with each other. Needs neither root nor namespaces."""
import collections
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import unittest

import lab

CAPTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "pcaps")
VARIANTS = [(workers, spread) for workers in (1, 2, 4) for spread in ("right", "wrong")]
# Not compared: what the collector adds, and when a worker came by to find that a flow had timed out.
NOT_COMPARED = ("TIME_STAMP", "RECORD_SOURCE", "REPORT_TIME")


class Run:
    """One replay of all captures, with a collector beside it."""

    def __init__(self, folder, workers, spread):
        name = os.path.join(folder, f"{workers}-{spread}")
        with open(f"{name}.log", "w+b") as log:
            collector = subprocess.Popen([lab.sce_path, "collect", "--listen", "127.0.0.1:0", "--db", f"{name}.sqlite", "--json"],
                                         stdout=subprocess.PIPE, stderr=log, preexec_fn=lab.die_with_parent)
            try:
                port = lab.wait_for("the collector listens", lambda: self._port(f"{name}.log"))
                done = subprocess.run([lab.sce_path, "replay", "-q", "-o", "json", "-w", str(workers), "--spread", spread, "--rdr",
                                       f"127.0.0.1:{port}", *captures()], capture_output=True, timeout=60)
                collector.send_signal(signal.SIGTERM)
                out, _ = collector.communicate(timeout=lab.WAIT_S)
            finally:
                collector.kill()
                collector.wait()
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr.decode()
        self.collector_code, self.totals = collector.returncode, json.loads(out)
        with contextlib.closing(sqlite3.connect(f"{name}.sqlite")) as db:
            db.row_factory = sqlite3.Row
            self.rows = {table: [dict(row) for row in db.execute(f"SELECT * FROM {table}")] for table in self.totals["tables"]}

    @staticmethod
    def _port(path):
        with open(path, encoding="utf-8") as f:
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", f.read())
        return found and found.group(1)

    def flows(self):
        return [row for row in map(json.loads, self.stdout.splitlines()) if row["event"] == "flow"]

    def summary(self):
        return json.loads(self.stdout.splitlines()[-1])

    def records(self, table):
        """As a multiset: records of different workers come in any order."""
        return collections.Counter(tuple(v for k, v in row.items() if k not in NOT_COMPARED) for row in self.rows[table])


def captures():
    return sorted(glob.glob(f"{CAPTURES}/*.pcap*"))


class Replay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix=lab.PREFIX)
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.runs = {variant: Run(folder, *variant) for variant in VARIANTS}
        cls.first = cls.runs[VARIANTS[0]]

    def test_it_ends_well(self):
        for variant, run in self.runs.items():
            self.assertEqual((run.code, run.collector_code), (0, 0), (variant, run.stderr))

    def test_output_is_the_same_to_the_byte(self):
        self.assertGreater(len(self.first.flows()), len(captures()))
        for variant, run in self.runs.items():
            if run.stdout != self.first.stdout:
                pairs = zip(self.first.stdout.decode().splitlines(), run.stdout.decode().splitlines())
                self.fail("\n".join((f"{variant} differs:", *next((p for p in pairs if p[0] != p[1]), ("in length",)))))

    def test_records_are_the_same(self):
        for variant, run in self.runs.items():
            self.assertEqual(run.totals["tables"], self.first.totals["tables"], variant)
            for table in run.rows:
                mine, first = run.records(table), self.first.records(table)
                self.assertEqual((list(mine - first)[:3], list(first - mine)[:3]), ([], []), (variant, table))

    def test_records_sum_up_to_what_is_printed(self):
        flows = self.first.flows()
        v4 = [flow for flow in flows if ":" not in flow["client_ip"]]
        usage = self.first.rows["RPT_TUR"] + self.first.rows["RPT_HTTP"]
        for rows, expected in ((usage, flows), (self.first.rows["RPT_TR"], v4)):
            self.assertEqual(len(rows), len(expected))
            self.assertEqual(sum(row["SESSION_UPSTREAM_VOLUME"] for row in rows), sum(flow["bytes_up"] for flow in expected))
            self.assertEqual(sum(row["SESSION_DOWNSTREAM_VOLUME"] for row in rows), sum(flow["bytes_down"] for flow in expected))
        self.assertEqual(len(self.first.rows["RPT_FLOW_END"]), len(v4))

    def test_every_packet_is_told_of(self):
        """The captures' own packets, counted by reading the files."""
        summary = self.first.summary()
        self.assertEqual(summary["packets"], sum(packets_of(path) for path in captures()))


def packets_of(path):
    """Packets of a pcap or pcapng file, by its record headers."""
    with open(path, "rb") as f:
        data = f.read()
    order = "little" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") or data[8:12] == b"\x4d\x3c\x2b\x1a" else "big"
    packets, at = 0, 0
    if data[:4] == b"\x0a\x0d\x0d\x0a":  # pcapng: blocks of type, size; 6 is a packet, 3 a simple one
        while at < len(data):
            packets += int.from_bytes(data[at : at + 4], order) in (3, 6)
            at += int.from_bytes(data[at + 4 : at + 8], order)
    else:
        at = 24
        while at < len(data):
            packets += 1
            at += 16 + int.from_bytes(data[at + 8 : at + 12], order)
    return packets


if __name__ == "__main__":
    lab.main(needs_namespaces=False)
