#!/usr/bin/python3
"""Options, formats and exit codes of sce replay, on the project's captures. Needs neither root nor namespaces."""
import contextlib
import csv
import glob
import io
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


def capture(name):
    return glob.glob(f"{CAPTURES}/{name}.pcap*")[0]


def replay(*arguments, stdin=None):
    return subprocess.run([lab.sce_path, "replay", "-q", *arguments], capture_output=True, timeout=60, stdin=stdin)


def rows(output):
    return [json.loads(line) for line in output.splitlines()]


def flows(output):
    return [row for row in rows(output) if row["event"] == "flow"]


class Options(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix=lab.PREFIX)
        self.addCleanup(shutil.rmtree, self.folder)
        self.files = [capture(name) for name in ("http1", "dns", "ssh")]

    def path(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def run_well(self, *arguments, **more):
        done = replay(*arguments, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_expect(self):
        for form in ("json", "csv", "table"):
            out = self.run_well("-o", form, *self.files)
            same = replay("-o", form, "--expect", self.path("same", out), *self.files)
            self.assertEqual((same.returncode, same.stdout), (0, b""), same.stderr)
            lines = out.splitlines(keepends=True)
            for wrong, line in ((lines[:3] + [lines[3].replace(b"1", b"2")] + lines[4:], 4), (lines[:-1], len(lines)),
                                (lines + [b"more\n"], len(lines) + 1), ([], 1)):
                path = self.path("other", b"".join(wrong))
                done = replay("-o", form, "--expect", path, *self.files)
                self.assertEqual(done.returncode, 4, (form, line))
                self.assertIn(f"{path}:{line}: differs", done.stderr.decode())
        self.assertEqual(replay("--expect", self.folder + "/absent", *self.files).returncode, 3)
        bad = self.path("bad.pcap", b"no capture at all, but long enough to be looked at")
        self.assertEqual(replay("--expect", self.path("same", b""), bad).returncode, 3)

    def test_stream_prints_the_same_flows(self):
        for form in ("json", "csv"):
            for workers in ("1", "3"):
                kept = self.run_well("-o", form, "-w", workers, *self.files).splitlines()
                streamed = self.run_well("-o", form, "-w", workers, "--stream", *self.files).splitlines()
                self.assertEqual(sorted(kept), sorted(streamed))
                self.assertGreater(len(kept), 20)

    def test_separate_runs_are_as_each_alone(self):
        """Also where a later file is older, and with every packet at the wrong worker first."""
        files = sorted(glob.glob(f"{CAPTURES}/*.pcap*"))
        files = files[:3] + files[::-12]
        for form in ("json", "table"):
            alone = b"".join(self.run_well("-o", form, "--separate", file) for file in files)
            self.assertEqual(self.run_well("-o", form, "--separate", *files), alone)
            self.assertEqual(self.run_well("-o", form, "--separate", "-w", "3", "--spread", "wrong", *files), alone)
        self.assertEqual({row["file"] for row in rows(self.run_well("-o", "json", "--separate", *files))}, set(files))
        named = {row.get("file") for row in rows(self.run_well("-o", "json", *files))}
        self.assertEqual(named, set(files) | {None})  # each flow has its capture, the summary of them all has none

    def test_bad_files_are_named_and_the_others_processed(self):
        with open(self.files[1], "rb") as f:
            whole = f.read()
        cut = self.path("cut.pcap", whole[: len(whole) * 2 // 3])
        noise = self.path("noise.pcap", b"no capture at all, but long enough to be looked at")
        absent = self.folder + "/absent.pcap"
        mixed = [noise, self.files[0], cut, absent, self.files[2]]
        good = self.run_well("-o", "json", "--separate", self.files[0], self.files[2])
        for form in ("json", "csv", "table"):
            for extra in ([], ["--separate"], ["--stream"], ["-w", "2"]):
                done = replay("-o", form, *extra, *mixed)
                self.assertEqual(done.returncode, 3, (form, extra))
                for bad in (noise, cut, absent):
                    self.assertIn(bad, done.stderr.decode())
                for file in (self.files[0], self.files[2]):
                    self.assertNotIn(file, done.stderr.decode())
                self.assertTrue(done.stdout.strip(), (form, extra))
        out = replay("-o", "json", "--separate", *mixed).stdout
        self.assertEqual([row for row in rows(out) if row["file"] in self.files], rows(good))
        before_damage = [row for row in flows(out) if row["file"] == cut]
        self.assertGreater(len(before_damage), 2)
        self.assertLess(len(before_damage), len(flows(self.run_well("-o", "json", self.files[1]))))
        summaries = {row["file"]: row for row in rows(out) if row["event"] == "summary"}
        self.assertEqual(set(summaries), set(mixed))
        self.assertEqual(summaries[noise]["packets"], 0)

    def test_formats_say_the_same(self):
        for file in self.files:
            as_json = flows(self.run_well("-o", "json", file))
            as_csv = list(csv.DictReader(io.StringIO(self.run_well("-o", "csv", file).decode())))
            self.assertEqual(len(as_json), len(as_csv))
            for one, other in zip(as_json, as_csv):
                for key, text in other.items():
                    value = one["info"].get("host", "") if key == "host" else one[key]
                    if key in ("first_ts", "last_ts"):
                        self.assertEqual(f"{value:.6f}", text)
                    else:
                        self.assertEqual(str(value), text, key)
            table = self.run_well(file).decode()
            summary = rows(self.run_well("-o", "json", file))[-1]
            shown = re.search(r"^(\d+) packets, (\d+) bytes, (\d+) flows; forwarded (\d+)", table, re.M)
            self.assertEqual([int(x) for x in shown.groups()], [summary[k] for k in ("packets", "bytes", "flows", "forwarded")])
            lines = [line.split() for line in table.splitlines() if line.endswith("%")]
            self.assertEqual(sum(int(line[-5]) for line in lines), len(as_json))
            for column, key in ((-3, "bytes_up"), (-2, "bytes_down")):
                self.assertEqual(sum(int(line[column]) for line in lines), sum(flow[key] for flow in as_json))

    def test_the_summary_is_a_partition(self):
        for file in sorted(glob.glob(f"{CAPTURES}/*.pcap*")):
            summary = rows(self.run_well("-o", "json", file))[-1]
            ends = summary["forwarded"] + sum(summary["dropped"].values()) + sum(summary["bypassed"].values())
            self.assertEqual(summary["packets"], ends, file)

    def test_link_usage_of_separate_runs(self):
        """Each run's usage is its own: what was told of the one before is not taken off."""
        db, log = f"{self.folder}/rdr.sqlite", f"{self.folder}/log"
        with open(log, "wb") as f:
            collector = subprocess.Popen([lab.sce_path, "collect", "--listen", "127.0.0.1:0", "--db", db], stdout=f, stderr=f,
                                         preexec_fn=lab.die_with_parent)
        try:
            port = lab.wait_for("the collector listens", lambda: self.listening_port(log))
            out = self.run_well("-o", "json", "--separate", "--rdr", f"127.0.0.1:{port}", *self.files, *self.files)
            collector.send_signal(signal.SIGTERM)
            collector.wait(lab.WAIT_S)
        finally:
            collector.kill()
            collector.wait()
        with contextlib.closing(sqlite3.connect(db)) as connection:
            told = connection.execute("SELECT UPSTREAM_VOLUME, DOWNSTREAM_VOLUME, SESSIONS, DURATION FROM RPT_LUR").fetchall()
        sent = flows(out)
        self.assertEqual(sum(row[2] for row in told), len(sent))
        for column, key in ((0, "bytes_up"), (1, "bytes_down")):
            kilobytes = sum(row[column] for row in told)
            self.assertLessEqual(kilobytes, sum(flow[key] for flow in sent) // 1024)
            self.assertGreater(kilobytes, sum(flow[key] for flow in sent) // 1024 - len(told))
        longest = max(flow["last_ts"] for flow in sent) - min(flow["first_ts"] for flow in sent)
        self.assertLessEqual(max(row[3] for row in told), longest + 1)

    @staticmethod
    def listening_port(path):
        with open(path, encoding="utf-8") as f:
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", f.read())
        return found and found.group(1)

    def test_subscriber_nets_turn_up_and_down(self):
        plain = flows(self.run_well("-o", "json", self.files[0]))
        v4 = [flow for flow in plain if ":" not in flow["client_ip"]]
        client, server = v4[0]["client_ip"], v4[0]["server_ip"]
        of_client = flows(self.run_well("-o", "json", "--subscriber-net", f"{client}/32", self.files[0]))
        self.assertEqual(of_client, plain)
        turned = flows(self.run_well("-o", "json", "--subscriber-net", "192.0.2.0/24", "--subscriber-net", server, self.files[0]))
        swapped = 0
        for one, other in zip(plain, turned):
            if one["server_ip"] == server and one["client_ip"] != server:
                swapped += 1
                one.update(packets_up=one["packets_down"], packets_down=one["packets_up"], bytes_up=one["bytes_down"],
                           bytes_down=one["bytes_up"])
            self.assertEqual(one, other)
        self.assertGreater(swapped, 2)

    def test_standard_input_is_a_capture(self):
        with open(self.files[0], "rb") as f:
            piped = flows(self.run_well("-o", "json", "-", stdin=f))
        expected = flows(self.run_well("-o", "json", self.files[0]))
        for flow in piped + expected:
            del flow["file"]
        self.assertEqual(piped, expected)

    def test_exit_codes(self):
        for wrong in ([], ["--no-such-option"], ["-o", "xml", self.files[0]], ["-w", "0", self.files[0]], ["-w", "x", self.files[0]],
                      ["--subscriber-net", "10.0.0.0/33", self.files[0]], ["--rdr", "nowhere", self.files[0]],
                      ["--stream", "--expect", "x", self.files[0]]):
            done = replay(*wrong)
            self.assertEqual((done.returncode, done.stdout), (1, b""), wrong)
            self.assertTrue(done.stderr, wrong)
        done = replay("--pack", self.path("pack.yaml", b"nonsense: ["), self.files[0])
        self.assertEqual((done.returncode, done.stdout), (2, b""), done.stderr)


if __name__ == "__main__":
    lab.main(needs_namespaces=False)
