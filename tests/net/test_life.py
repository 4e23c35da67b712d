#!/usr/bin/python3
"""The engine's life: its end in the middle of a transfer, collectors that are absent or die, refusals at the start, receive-only."""
import os
import re
import signal
import socket
import threading
import time
import unittest

import lab
from lab import CLIENT_IP, SERVER_IP

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
STREAM_PORTS = (30400, 40020)
FLOWS = 50


class Stream:
    """A TCP transfer from server to client, some 20 MB/s, until it is closed."""

    def __init__(self, the_lab):
        self.received_bytes = 0
        listener = lab.free_socket(socket.SOCK_STREAM, the_lab.server, (SERVER_IP, STREAM_PORTS[1]))
        listener.listen()
        self.client = lab.free_socket(socket.SOCK_STREAM, the_lab.client, (CLIENT_IP, STREAM_PORTS[0]))
        self.client.connect((SERVER_IP, STREAM_PORTS[1]))
        self.server = listener.accept()[0]
        listener.close()
        self.threads = [threading.Thread(target=self._run, args=(step,), daemon=True) for step in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _run(self, step):
        try:
            while step():
                pass
        except OSError:
            pass  # closed

    def _send(self):
        self.server.sendall(bytes(65536))
        time.sleep(0.003)
        return True

    def _receive(self):
        got = len(self.client.recv(65536))
        self.received_bytes += got
        return got

    def wait_progress(self):
        goal = self.received_bytes + (1 << 20)
        lab.wait_for("the transfer goes on", lambda: self.received_bytes > goal)

    def close(self):
        for s in (self.client, self.server):
            s.shutdown(socket.SHUT_RDWR)
            s.close()
        for thread in self.threads:
            thread.join(lab.WAIT_S)


def send_datagrams(the_lab, first_port, count=FLOWS):
    """One datagram in each of `count` flows; how many arrived."""
    with lab.free_socket(socket.SOCK_DGRAM, the_lab.server, (SERVER_IP, 40021)) as receiver:
        for n in range(count):
            with lab.free_socket(socket.SOCK_DGRAM, the_lab.client, (CLIENT_IP, first_port + n)) as sender:
                sender.sendto(b"\xff" * 100, (SERVER_IP, 40021))
            receiver.recv(200)
    return count


def client_ports(collector, table="RPT_TUR"):
    return sorted(row["CLIENT_PORT"] for row in collector.rows(table) if row["IP_PROTOCOL"] == UDP)


def assert_partition(test, stats):
    parts = ("queued", "sent", "discarded", "unconfirmed")
    test.assertEqual(stats["records_given"], sum(stats[f"records_{part}"] for part in parts), stats)


def last_words(engine):
    """The engine's own account of its records: {made, sent, discarded, unconfirmed, left}."""
    line = re.search(r"records: (\d+ made.*)", engine.log()).group(1)
    return {name: int(number) for number, name in re.findall(r"(\d+) (\w+)", line)}


class End(unittest.TestCase):
    def test_term_in_the_middle_of_a_transfer(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number.name), lab.Lab() as the_lab:
                collector = lab.Collector(the_lab).wait_listening()
                engine = lab.Engine(the_lab, the_lab.config(4)).wait_running()
                client, server = the_lab.observe()
                stream = Stream(the_lab)
                stream.wait_progress()
                engine.signal(number)
                self.assertEqual(engine.wait(), 0, engine.log())
                stream.close()
                (_, down_got), (_, up_got) = client.stop(), server.stop()
                self.assertEqual(collector.stop(), 0, collector.log())
                self.assertFalse(os.path.exists(engine.socket_path))
                (row,) = collector.rows("RPT_TUR")
                self.assertEqual((row["CLIENT_PORT"], row["SERVER_PORT"], row["FLOW_CLOSE_MODE"]), (*STREAM_PORTS, 1))
                self.assertEqual(row["SESSION_UPSTREAM_VOLUME"], up_got.flows[(TCP, CLIENT_IP, STREAM_PORTS[0], SERVER_IP, STREAM_PORTS[1])][1])
                self.assertEqual(row["SESSION_DOWNSTREAM_VOLUME"], down_got.flows[(TCP, SERVER_IP, STREAM_PORTS[1], CLIENT_IP, STREAM_PORTS[0])][1])
                self.assertEqual(len(collector.rows("RPT_FLOW_END")), 1)
                received, forwarded = map(int, re.search(r"stopped: (\d+) packets received, (\d+) forwarded", engine.log()).groups())
                self.assertEqual(received, up_got.frames.total() + down_got.frames.total())
                self.assertEqual(forwarded, sum(p for seen in (up_got, down_got) for p, _ in seen.flows.values()))

    def test_term_at_any_moment_of_the_start(self):
        with lab.Lab() as the_lab:
            for delay_ms in range(0, 500, 100):
                engine = lab.Engine(the_lab, the_lab.config(2, rdr={"destinations": []}))
                time.sleep(delay_ms / 1000)
                self.assertIn(engine.stop(), (0, -signal.SIGTERM), engine.log())
                self.assertFalse(os.path.exists(engine.socket_path), f"after {delay_ms} ms")

    def test_without_a_collector_the_queue_bounds_what_is_kept_and_the_end_says_so(self):
        with lab.Lab() as the_lab:
            config = the_lab.config(2, rdr={"queue_kib": 16}, flow_table={"timeouts_s": {"udp_unanswered": 1}})
            engine = lab.Engine(the_lab, config).wait_running()
            flows = send_datagrams(the_lab, 31000, 400)
            lab.wait_for("flows end", lambda: engine.stats()["closed_aged"] == flows)
            lab.wait_for("records are made", lambda: engine.stats()["records_made"] >= 3 * flows)
            stats = engine.wait_at_rest()
            assert_partition(self, stats)
            self.assertGreater(stats["records_discarded"], 0)
            self.assertGreater(stats["records_queued"], 0)
            self.assertEqual((stats["records_sent"], stats["records_unconfirmed"], stats["events_lost"]), (0, 0, 0))
            self.assertEqual(stats["forwarded_packets"], flows)
            self.assertEqual(engine.stop(), 3, engine.log())
            said = last_words(engine)
            self.assertEqual(said["made"], said["sent"] + said["discarded"] + said["unconfirmed"] + said["left"])
            self.assertGreater(said["left"], 0)


class Collectors(unittest.TestCase):
    def start(self, the_lab):
        config = the_lab.config(2, rdr={"transaction_rate_per_s": 0}, flow_table={"timeouts_s": {"udp_unanswered": 1}})
        return lab.Engine(the_lab, config).wait_running()

    def finish_flows(self, engine, count):
        return lab.wait_for("flows end", lambda: (s := engine.stats())["closed_aged"] >= count and s["records_given"] >= 3 * count and s)

    def test_absent_at_the_start_gets_all_records_when_it_comes(self):
        with lab.Lab() as the_lab:
            engine = self.start(the_lab)
            send_datagrams(the_lab, 31000)
            stats = self.finish_flows(engine, FLOWS)
            assert_partition(self, stats)
            self.assertEqual(stats["records_queued"], stats["records_given"])
            collector = lab.Collector(the_lab).wait_listening()
            stats = lab.wait_for("records arrive", lambda: (s := engine.stats())["records_queued"] == 0 and s)
            assert_partition(self, stats)
            self.assertEqual(engine.stop(), 0, engine.log())
            self.assertEqual(collector.stop(), 0, collector.log())
            for table in ("RPT_TUR", "RPT_FLOW_START", "RPT_FLOW_END"):
                self.assertEqual(client_ports(collector, table), list(range(31000, 31000 + FLOWS)), table)
            self.assertEqual(last_words(engine)["sent"], collector.totals()["stored"])

    def test_death_in_the_middle_leaves_forwarding_alone_and_no_record_uncounted(self):
        with lab.Lab() as the_lab:
            first = lab.Collector(the_lab, "first").wait_listening()
            engine = self.start(the_lab)
            stream = Stream(the_lab)
            send_datagrams(the_lab, 31000)
            stats = self.finish_flows(engine, FLOWS)
            lab.wait_for("records are sent", lambda: engine.stats()["records_queued"] == 0)
            first.signal(signal.SIGKILL)
            first.wait()
            stream.wait_progress()
            send_datagrams(the_lab, 32000)
            stats = self.finish_flows(engine, 2 * FLOWS)
            assert_partition(self, stats)
            self.assertGreater(stats["records_queued"], 0)
            stream.wait_progress()
            second = lab.Collector(the_lab, "second").wait_listening()
            lab.wait_for("records arrive", lambda: engine.stats()["records_queued"] == 0)
            stream.wait_progress()
            stream.close()
            assert_partition(self, engine.wait_at_rest())
            self.assertEqual(engine.stats()["dropped_packets"], 0)
            self.assertEqual(engine.stop(), 0, engine.log())
            self.assertEqual(second.stop(), 0, second.log())
            said = last_words(engine)
            self.assertEqual(said["made"], said["sent"] + said["discarded"] + said["unconfirmed"])
            self.assertEqual(said["discarded"], 0)
            self.assertEqual(client_ports(second), list(range(32000, 32000 + FLOWS)))

    def test_slow_one_gets_what_the_queue_can_hold(self):
        with lab.Lab() as the_lab:
            collector = lab.Collector(the_lab).wait_listening()
            config = the_lab.config(2, rdr={"queue_kib": 16}, flow_table={"timeouts_s": {"udp_unanswered": 1}})
            engine = lab.Engine(the_lab, config).wait_running()
            stream = Stream(the_lab)
            collector.signal(signal.SIGSTOP)
            flows = send_datagrams(the_lab, 20000, 3000)
            self.finish_flows(engine, flows)
            stats = lab.wait_for("the queue overflows", lambda: (s := engine.stats())["records_discarded"] and s)
            assert_partition(self, stats)
            self.assertGreater(stats["records_queued"], 0)
            stream.wait_progress()
            collector.signal(signal.SIGCONT)
            lab.wait_for("records arrive", lambda: engine.stats()["records_queued"] == 0)
            stream.wait_progress()
            stream.close()
            self.assertEqual(engine.wait_at_rest()["dropped_packets"], 0)
            self.assertEqual(engine.stop(), 0, engine.log())
            self.assertEqual(collector.stop(), 0, collector.log())
            said = last_words(engine)
            self.assertEqual(said["made"], said["sent"] + said["discarded"] + said["unconfirmed"])
            stored = collector.totals()["stored"]  # what is unconfirmed may have arrived all the same
            self.assertLessEqual(said["sent"], stored)
            self.assertLessEqual(stored, said["sent"] + said["unconfirmed"])


class Trouble(unittest.TestCase):
    def test_transfer_outlives_an_interface_that_goes_down_for_a_while(self):
        with lab.Lab() as the_lab:
            engine = lab.Engine(the_lab, the_lab.config(2, rdr={"destinations": []})).wait_running()
            links = lambda: {row["side"]: row["up"] for row in engine.show("links") if row["event"] == "link"}
            stream = Stream(the_lab)
            stream.wait_progress()
            lab.command("ip", "-n", the_lab.bump, "link", "set", "p1", "down")
            self.assertEqual(links(), {"subscriber": True, "network": False})
            lab.command("ip", "-n", the_lab.bump, "link", "set", "p1", "up")
            lab.wait_for("the link is up", lambda: all(links().values()))
            stream.wait_progress()
            stream.close()
            self.assertEqual(engine.wait_at_rest()["flows_opened"], 1)
            self.assertEqual(engine.stop(), 0, engine.log())

    def test_killed_engine_is_followed_by_another(self):
        """What a killed one leaves (its socket file, its ports) is in nobody's way."""
        with lab.Lab() as the_lab:
            config = the_lab.config(2, rdr={"destinations": []})
            first = lab.Engine(the_lab, config, "first").wait_running()
            send_datagrams(the_lab, 31000)
            first.signal(signal.SIGKILL)
            first.wait()
            self.assertTrue(os.path.exists(first.socket_path))
            second = lab.Engine(the_lab, config, "second", socket_path=first.socket_path).wait_running()
            send_datagrams(the_lab, 32000)
            self.assertEqual(second.wait_at_rest()["flows_opened"], FLOWS)
            self.assertEqual(second.stop(), 0, second.log())

    def test_full_flow_table_lets_everything_pass(self):
        with lab.Lab() as the_lab:
            config = the_lab.config(2, rdr={"destinations": []}, flow_table={"capacity_flows": 4096, "unanswered_share_pct": 10})
            engine = lab.Engine(the_lab, config).wait_running()
            flows = send_datagrams(the_lab, 20000, 1500)
            stats, drops = engine.wait_at_rest(), engine.drops()
            self.assertEqual(stats["forwarded_packets"] + drops["flow_table_unanswered"], flows)
            self.assertEqual(set(drops), {"flow_table_unanswered", "not_ip"})
            self.assertGreater(drops["flow_table_unanswered"], 0)
            self.assertEqual(len(engine.flows()), stats["forwarded_packets"])
            self.assertEqual(engine.stop(), 0, engine.log())


class Refusals(unittest.TestCase):
    """Nothing is started, nothing on the machine is changed."""

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)

    def state(self):
        """Interfaces of the bump's namespace, with their promiscuity, and what hangs on them."""
        links = lab.json.loads(lab.command("ip", "-n", self.lab.bump, "-d", "-j", "link", "show"))
        sockets = lab.command("ip", "netns", "exec", self.lab.bump, "cat", "/proc/net/packet").splitlines()[1:]
        return [(link["ifname"], link["promiscuity"], link["flags"]) for link in links], sockets

    def refused(self, config, code, *patterns, **options):
        before = self.state()
        engine = lab.Engine(self.lab, config, **{"name": "refused", **options})
        self.assertEqual(engine.wait(), code, engine.log())
        for pattern in patterns:
            self.assertRegex(engine.log(), pattern)
        self.assertNotIn("running", engine.log())
        self.assertEqual(self.state(), before)
        return engine

    def test_wrong_configuration(self):
        link = 'links: [{name: lab, subscriber: "net_af_packet0,iface=p0", network: "net_af_packet1,iface=p1"}]\n'
        for text, patterns in (
            (link + "workers:\n  cuont: 2\n", (r"refused\.yaml:3:3: ", "count")),
            (link + "workers:\n  count: many\n", (r"refused\.yaml:3:10: ", "number")),
            (link + "workers:\n  count: 61\n", (r"refused\.yaml:3:10: ", "60")),
            (link + "rdr:\n  destinations:\n    - port: 33000\n", (r"refused\.yaml:4:\d+: ", "host")),
            ("links: [\n", (r"refused\.yaml:\d+:\d+: ",)),
            ("workers: {count: 1}\n", (r"refused\.yaml:\d+:\d+: ", "links")),
            ("links:\n  - name: lab\n    subscriber: net_af_pocket0,iface=p0\n    network: net_null1\n", (r"refused\.yaml:3:17: ", "net_af_packet")),
        ):
            with self.subTest(text=text):
                self.assertFalse(os.path.exists(self.refused(text, 2, *patterns).socket_path))

    def test_wrong_pack(self):
        for folder in ("pack", "no-such-pack"):
            config = {**self.lab.config(), "classification": {"pack": self.lab.path(folder)}}
            if folder == "pack":
                os.mkdir(self.lab.path(folder))
                for name, text in (("pack.yaml", "pack:\n  name: lab\n  version: '1'\n"), ("odd.yaml", "family: other\nprotocols:\n  - idd: 100\n")):
                    with open(os.path.join(self.lab.path(folder), name), "w", encoding="utf-8") as f:
                        f.write(text)
            with self.subTest(folder=folder):
                engine = self.refused(config, 2, r"pack/odd\.yaml:3:5: .*idd" if folder == "pack" else "no-such-pack")
                self.assertFalse(os.path.exists(engine.socket_path))
                check = lab.Program(self.lab, self.lab.bump, "check", lab.sce_path, "run", "-T", "-c", self.lab.path("refused.yaml"))
                self.assertEqual(check.wait(), 2, check.log())
                self.assertIn(folder, check.log())

    def test_no_such_file(self):
        program = lab.Program(self.lab, self.lab.bump, "nofile", lab.sce_path, "run", "-c", "/nonexistent.yaml")
        self.assertEqual(program.wait(), 2)
        self.assertIn("/nonexistent.yaml", program.log())

    def test_no_such_interface(self):
        config = self.lab.config()
        config["links"][0]["network"] = "net_af_packet1,iface=p9"
        self.assertFalse(os.path.exists(self.refused(config, 3, r"refused\.yaml:\d+", "net_af_packet1", "p9").socket_path))

    def test_second_engine_on_the_same_control_socket(self):
        first = lab.Engine(self.lab, self.lab.config(rdr={"destinations": []})).wait_running()
        self.addCleanup(first.kill)
        self.refused(self.lab.config(), 3, re.escape(first.socket_path), socket_path=first.socket_path)
        self.assertEqual(send_datagrams(self.lab, 31000), first.wait_at_rest()["forwarded_packets"])
        self.assertEqual(first.stop(), 0, first.log())

    def test_show_without_an_engine(self):
        program = lab.Program(self.lab, self.lab.bump, "show", lab.sce_path, "show", "stats", "--socket", self.lab.path("nobody.sock"))
        self.assertEqual(program.wait(), 3)
        self.assertIn("nobody.sock", program.log())


class ReceiveOnly(unittest.TestCase):
    def test_flows_are_judged_and_nothing_is_sent(self):
        request = b"GET /page HTTP/1.1\r\nHost: www.example.org\r\n\r\n"
        for workers in (1, 4):
            with self.subTest(workers=workers), lab.Lab() as the_lab:
                engine = lab.Engine(the_lab, the_lab.config(workers, mode="receive-only", rdr={"destinations": []})).wait_running()
                client, server = the_lab.observe()
                for namespace, interface, peer in ((the_lab.client, "c0", SERVER_IP), (the_lab.server, "s0", CLIENT_IP)):
                    lab.command("ip", "-n", namespace, "neigh", "add", peer, "lladdr", "02:00:00:00:00:09", "dev", interface)
                with lab.free_socket(socket.SOCK_DGRAM, the_lab.client, (CLIENT_IP, 31000)) as s:
                    for _ in range(10):
                        s.sendto(request, (SERVER_IP, 18080))
                with lab.free_socket(socket.SOCK_DGRAM, the_lab.server, (SERVER_IP, 18080)) as s:
                    for _ in range(10):
                        s.sendto(request, (CLIENT_IP, 31000))
                stats, flows = engine.wait_at_rest(), engine.flows()
                drops = engine.drops()
                (up_sent, down_got), (down_sent, up_got) = client.stop(), server.stop()
                self.assertEqual((up_got.frames.total(), down_got.frames.total()), (0, 0))
                self.assertEqual((up_sent.frames.total(), down_sent.frames.total()), (10, 10))
                self.assertEqual(drops, {"receive_only": 20})
                self.assertEqual((stats["received_packets"], stats["forwarded_packets"], stats["dropped_packets"]), (20, 0, 20))
                (flow,) = flows.values()
                self.assertTrue(flow["decided"])
                self.assertEqual((flow["packets_up"], flow["packets_down"]), (10, 10))
                self.assertEqual(engine.stop(), 0, engine.log())


if __name__ == "__main__":
    lab.main()
