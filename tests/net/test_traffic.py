#!/usr/bin/python3
"""Real programs across the bump in the wire: HTTP, TLS, DNS and bulk transfers, with one, two and four workers.

What arrived is compared with what was sent; what `sce show` and the records in SQLite say is compared with what observers
at the hosts' own interfaces, and the kernel's counters of these, saw.
"""
import hashlib
import os
import random
import socket
import struct
import unittest

import lab
from lab import CLIENT_IP, SERVER_IP
from servers import DNS_PORT, HTTP_PORT, HTTPS_PORT, SINK_PORT, SOURCE_PORT

BULK_BYTES = 20 << 20
PAGE_BYTES = 300000
HOST = "www.example.org"
USER_AGENT = "lab/1.0"
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
SERVERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers.py")

# exchange: its flow's key, protocol, and how that was found
FLOWS = {
    "http": ((TCP, CLIENT_IP, 30001, SERVER_IP, HTTP_PORT), "HTTP"),
    "https": ((TCP, CLIENT_IP, 30002, SERVER_IP, HTTPS_PORT), "TLS"),
    "dns": ((UDP, CLIENT_IP, 30003, SERVER_IP, DNS_PORT), "DNS"),
    "upload": ((TCP, CLIENT_IP, 30004, SERVER_IP, SINK_PORT), "Generic TCP"),
    "download": ((TCP, CLIENT_IP, 30005, SERVER_IP, SOURCE_PORT), "Generic TCP"),
}
KEYS = {key: name for name, (key, _) in FLOWS.items()}
verdicts = {}  # workers -> {exchange: what was said of it}


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def read_to_end(connection):
    parts = []
    while data := connection.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


def turned(key):
    """The same flow, seen from its server."""
    return (key[0], key[3], key[4], key[1], key[2])


class Exchanges:
    """The client's part. Each returns (what was sent, what arrived), to be compared."""

    def __init__(self, the_lab):
        self.lab = the_lab
        self.www = the_lab.path("www")
        os.mkdir(self.www)
        self.bulk = random.Random(1).randbytes(BULK_BYTES)
        for name, content in (("bulk", self.bulk), ("page", random.Random(2).randbytes(PAGE_BYTES))):
            with open(os.path.join(self.www, name), "wb") as f:
                f.write(content)
        lab.make_certificate(the_lab, HOST)

    def curl(self, name, url, *options):
        got = self.lab.path(f"{name}.got")
        lab.command("ip", "netns", "exec", self.lab.client, "curl", "--silent", "--show-error", "--fail", "--max-time", "30",
                    "--local-port", str(FLOWS[name][0][2]), "--user-agent", USER_AGENT, "--output", got, *options, url)
        return sha256_of(os.path.join(self.www, "page")), sha256_of(got)

    def http(self):
        return self.curl("http", f"http://{HOST}:{HTTP_PORT}/page", "--resolve", f"{HOST}:{HTTP_PORT}:{SERVER_IP}")

    def https(self):
        return self.curl("https", f"https://{HOST}:{HTTPS_PORT}/page", "--resolve", f"{HOST}:{HTTPS_PORT}:{SERVER_IP}",
                         "--cacert", self.lab.path("cert.pem"))

    def dns(self):
        question = b"".join(bytes([len(label)]) + label for label in b"www.example.org".split(b".")) + b"\0\0\1\0\1"
        with lab.free_socket(socket.SOCK_DGRAM, self.lab.client, (CLIENT_IP, FLOWS["dns"][0][2])) as s:
            s.sendto(struct.pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + question, (SERVER_IP, DNS_PORT))
            answer = s.recv(512)
        return (0x1234, socket.inet_aton("192.0.2.53")), (int.from_bytes(answer[:2], "big"), answer[-4:])

    def connect(self, name):
        key = FLOWS[name][0]
        s = lab.free_socket(socket.SOCK_STREAM, self.lab.client, key[1:3])
        s.connect(key[3:5])
        return s

    def upload(self):
        with self.connect("upload") as s:
            s.sendall(self.bulk)
            s.shutdown(socket.SHUT_WR)
            return hashlib.sha256(self.bulk).digest(), read_to_end(s)

    def download(self):
        with self.connect("download") as s:
            return hashlib.sha256(self.bulk).digest(), hashlib.sha256(read_to_end(s)).digest()


class Traffic:
    """One run of the engine with all exchanges; the tests look at what it left."""

    workers = 0

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)
        exchanges = Exchanges(cls.lab)
        cls.collector = lab.Collector(cls.lab).wait_listening()
        timeouts = {"tcp_closed": 600}  # closed flows are there to be shown, however slow the machine is
        config = cls.lab.config(cls.workers, rdr={"link_usage_interval_s": 1}, flow_table={"timeouts_s": timeouts})
        cls.engine = lab.Engine(cls.lab, config).wait_running()
        lab.Program(cls.lab, cls.lab.server, "servers", lab.sys.executable, SERVERS, cls.lab.folder).wait_until("ready")
        cls.kernel_sent, cls.kernel_got = -cls.lab.sent_by_hosts(), -cls.lab.got_by_hosts()
        client, server = cls.lab.observe()
        cls.exchanged = {name: getattr(exchanges, name)() for name in FLOWS}
        cls.stats = cls.engine.wait_at_rest()
        cls.kernel_sent += cls.lab.sent_by_hosts()
        cls.kernel_got += cls.lab.got_by_hosts()
        cls.live_flows = cls.engine.flows()
        cls.drops = cls.engine.drops()
        cls.up_sent, cls.down_got = client.stop()
        cls.down_sent, cls.up_got = server.stop()
        cls.engine_code = cls.engine.stop()
        cls.collector_code = cls.collector.stop()
        verdicts[cls.workers] = {
            name: {k: row[k] for k in ("protocol", "application", "service", "signature", "method", "confidence", "decided")}
            for name, row in ((KEYS.get(key, str(key)), row) for key, row in cls.live_flows.items())
        }

    def volumes(self, key):
        """(up, down) bytes of a flow, as observed by those whom they reached."""
        return self.up_got.flows[key][1], self.down_got.flows[turned(key)][1]

    def records_of(self, table):
        """{key: [rows]}"""
        rows = {}
        for row in self.collector.rows(table):
            client, server = (str(lab.ipaddress.ip_address(row[c])) for c in ("CLIENT_IP", "SERVER_IP"))
            key = (row["IP_PROTOCOL"], client, row["CLIENT_PORT"], server, row["SERVER_PORT"])
            rows.setdefault(key, []).append(row)
        return rows

    # ---- what the hosts saw ----

    def test_what_arrived_is_what_was_sent(self):
        for name, (sent, arrived) in self.exchanged.items():
            self.assertEqual(arrived, sent, name)

    def test_every_frame_crossed_once_and_unchanged(self):
        self.assertGreater(self.up_sent.frames.total(), BULK_BYTES // 1500)
        self.assertGreater(self.down_sent.frames.total(), BULK_BYTES // 1500)
        self.assertEqual(self.up_got.frames - self.up_sent.frames, {}, "arrived at the server, never sent")
        self.assertEqual(self.up_sent.frames - self.up_got.frames, {}, "sent by the client, lost")
        self.assertEqual(self.down_got.frames - self.down_sent.frames, {}, "arrived at the client, never sent")
        self.assertEqual(self.down_sent.frames - self.down_got.frames, {}, "sent by the server, lost")

    # ---- sce show ----

    def test_show_flows_has_the_flows_with_their_verdicts(self):
        self.assertEqual(set(self.live_flows), set(KEYS))
        for name, (key, protocol) in FLOWS.items():
            row = self.live_flows[key]
            self.assertEqual(row["protocol"], protocol, name)
            self.assertTrue(row["decided"], name)
            self.assertEqual(row["started_before"], row["ip_proto"] == 17, name)  # UDP right after the start
            self.assertEqual(row["link"], "lab", name)

    def test_show_flows_counts_what_the_hosts_saw(self):
        for key, row in self.live_flows.items():
            up, down = self.up_got.flows[key], self.down_got.flows[turned(key)]
            self.assertEqual([row["packets_up"], row["bytes_up"]], up, key)
            self.assertEqual([row["packets_down"], row["bytes_down"]], down, key)

    def test_counters_agree_with_the_kernel_and_the_observers(self):
        stats, sent, got = self.stats, (self.up_sent, self.down_sent), (self.up_got, self.down_got)
        self.assertEqual(stats["received_packets"], self.kernel_sent)
        self.assertEqual(stats["received_packets"], sum(seen.frames.total() for seen in sent))
        self.assertEqual(stats["received_bytes"], sum(seen.bytes for seen in sent))
        self.assertEqual(stats["forwarded_packets"] + stats["bypassed_packets"], self.kernel_got)
        self.assertEqual(stats["forwarded_bytes"] + stats["bypassed_bytes"], sum(seen.bytes for seen in got))
        arp = sum(seen.frames.total() - sum(p for p, _ in seen.flows.values()) for seen in sent)
        self.assertEqual(self.drops, {"not_ip": arp})

    def test_counters_are_a_partition(self):
        stats = self.stats
        for unit in ("packets", "bytes"):
            self.assertEqual(stats[f"received_{unit}"], sum(stats[f"{fate}_{unit}"] for fate in ("forwarded", "dropped", "bypassed")))
        self.assertEqual(sum(self.drops.values()), stats["dropped_packets"] + stats["bypassed_packets"])
        self.assertEqual(stats["flows_opened"], len(FLOWS))

    def test_packets_change_workers_when_there_are_several(self):
        if self.workers == 1:
            self.assertEqual(self.stats["handed_off"], 0)
        else:
            self.assertGreater(self.stats["handed_off"], 0)

    # ---- records ----

    def test_engine_and_collector_end_with_everything_stored(self):
        self.assertEqual(self.engine_code, 0, self.engine.log())
        self.assertEqual(self.collector_code, 0, self.collector.log())
        totals = self.collector.totals()
        self.assertEqual((totals["refused"], totals["doubles"], totals["truncated"]), (0, 0, 0))
        self.assertEqual(totals["records"], totals["stored"])
        self.assertRegex(self.engine.log(), rf'records: {totals["stored"]} made, {totals["stored"]} sent, 0 discarded, 0 unconfirmed, 0 left')

    def test_usage_records_agree_to_the_byte(self):
        http, rest = self.records_of("RPT_HTTP"), self.records_of("RPT_TUR")
        self.assertEqual(set(http), {FLOWS["http"][0]})
        self.assertEqual(set(rest), set(KEYS) - set(http))
        for key, rows in {**http, **rest}.items():
            self.assertEqual(len(rows), 1, key)
            row = rows[0]
            self.assertEqual((row["SESSION_UPSTREAM_VOLUME"], row["SESSION_DOWNSTREAM_VOLUME"]), self.volumes(key), key)
            self.assertEqual((row["SUBSCRIBER_ID"], row["INITIATING_SIDE"]), (CLIENT_IP, 0), key)
            self.assertEqual(row["FLOW_CLOSE_MODE"], 0 if key[0] == TCP else 1, key)

    def test_transaction_records_agree_to_the_byte(self):
        records = self.records_of("RPT_TR")
        self.assertEqual(set(records), set(KEYS))
        for key, rows in records.items():
            self.assertEqual([(row["SESSION_UPSTREAM_VOLUME"], row["SESSION_DOWNSTREAM_VOLUME"]) for row in rows], [self.volumes(key)], key)

    def test_records_say_who_was_asked_for_what(self):
        http = self.records_of("RPT_HTTP")[FLOWS["http"][0]][0]
        self.assertEqual((http["ACCESS_STRING"], http["INFO_STRING"], http["USER_AGENT"]), (HOST, "/page", USER_AGENT))
        usage = self.records_of("RPT_TUR")
        self.assertEqual(usage[FLOWS["https"][0]][0]["ACCESS_STRING"], HOST)
        self.assertEqual(usage[FLOWS["dns"][0]][0]["ACCESS_STRING"], HOST)

    def test_records_carry_the_verdict(self):
        names = {row["id"]: row for row in map(lab.json.loads, lab.command(lab.sce_path, "protocols", "--json").splitlines())}
        for key, rows in {**self.records_of("RPT_HTTP"), **self.records_of("RPT_TUR")}.items():
            shown = self.live_flows[key]
            self.assertEqual(names[rows[0]["PROTOCOL_ID"]]["name"], shown["protocol"], key)
            self.assertEqual(names[rows[0]["PROTOCOL_ID"]]["service_id"], rows[0]["SERVICE_ID"], key)
            self.assertEqual(names[rows[0]["PROTOCOL_ID"]]["service"], shown["service"], key)

    def test_flow_start_and_flow_end_come_in_pairs(self):
        starts, ends = self.records_of("RPT_FLOW_START"), self.records_of("RPT_FLOW_END")
        self.assertEqual(set(starts), set(KEYS))
        self.assertEqual(set(ends), set(KEYS))
        for key in KEYS:
            (start,), (end,) = starts[key], ends[key]
            for column in ("FLOW_ID", "START_TIME", "SUBSCRIBER_ID", "SERVICE_ID"):
                self.assertEqual(start[column], end[column], (key, column))
            self.assertGreaterEqual(end["REPORT_TIME"], start["REPORT_TIME"])

    def test_link_usage_agrees_to_the_kilobyte(self):
        """Kilobytes carry their remainder on, so that over all records of a service less than one is missing."""
        services = {key: rows[0]["SERVICE_ID"] for table in ("RPT_HTTP", "RPT_TUR") for key, rows in self.records_of(table).items()}
        for service in set(services.values()):
            keys = [key for key, s in services.items() if s == service]
            rows = [row for row in self.collector.rows("RPT_LUR") if row["SERVICE_USAGE_COUNTER_ID"] == service]
            for column, direction in (("UPSTREAM_VOLUME", 0), ("DOWNSTREAM_VOLUME", 1)):
                self.assertEqual(sum(row[column] for row in rows), sum(self.volumes(key)[direction] for key in keys) // 1024, service)
            self.assertEqual(sum(row["SESSIONS"] for row in rows), len(keys), service)


class OneWorker(Traffic, unittest.TestCase):
    workers = 1


class TwoWorkers(Traffic, unittest.TestCase):
    workers = 2


class FourWorkers(Traffic, unittest.TestCase):
    workers = 4


class WorkersAgree(unittest.TestCase):
    def test_flows_and_verdicts_are_the_same_for_any_number_of_workers(self):
        if len(verdicts) < 2:
            self.skipTest("needs the runs with one, two and four workers")
        for workers, said in verdicts.items():
            self.assertEqual(set(said), set(FLOWS), workers)
            self.assertEqual(said, verdicts[min(verdicts)], workers)


def load_tests(loader, _, __):
    """In this order."""
    return unittest.TestSuite(loader.loadTestsFromTestCase(c) for c in (OneWorker, TwoWorkers, FourWorkers, WorkersAgree))


if __name__ == "__main__":
    lab.main()
