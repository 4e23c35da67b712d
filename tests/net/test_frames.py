#!/usr/bin/python3
"""What crosses the bump: order within flows, fragments, tags, IPv6, and malformed frames under their named reasons."""
import collections
import hashlib
import os
import random
import socket
import struct
import time
import unittest

import frames
import lab
from lab import CLIENT_IP, CLIENT_IPV6, SERVER_IP, SERVER_IPV6
from servers import HTTP_PORT

AF_PACKET, AF_XDP = "net_af_packet{n},iface=p{n},framecnt=4096", "net_af_xdp{n},iface=p{n}"
UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP
SERVERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "servers.py")


class Order(unittest.TestCase):
    """Numbered datagrams of several flows at once, each flow on a worker of its own choice."""

    FLOWS, DATAGRAMS, ON_THE_WAY = 16, 4000, 500

    def exchange(self, sockets, receiver):
        """Datagrams as they arrived. Fewer are on their way than any ring on it holds, however slow the machine."""
        arrived = []
        for number in range(self.DATAGRAMS):
            # the first alone: until its neighbour has answered, the sender's kernel keeps only a few
            sockets[number % self.FLOWS].send(struct.pack(">II", number % self.FLOWS, number // self.FLOWS) + bytes(number % 1000))
            if number == 0 or (number + 1) % self.ON_THE_WAY == 0:
                arrived += [receiver.recvfrom(2048) for _ in range(number + 1 - len(arrived))]
        return arrived

    def test_flows_keep_their_order_and_lose_nothing(self):
        for workers in (1, 2, 4):
            with self.subTest(workers=workers), lab.Lab() as the_lab:
                engine = lab.Engine(the_lab, the_lab.config(workers, rdr={"destinations": []})).wait_running()
                with lab.free_socket(socket.SOCK_DGRAM, the_lab.server, (SERVER_IP, 40010)) as receiver:
                    receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE: it is read at the end
                    sockets = [lab.free_socket(socket.SOCK_DGRAM, the_lab.client, (CLIENT_IP, 30100 + n)) for n in range(self.FLOWS)]
                    for s in sockets:
                        s.connect((SERVER_IP, 40010))
                    receiver.settimeout(10)
                    arrived = self.exchange(sockets, receiver)
                    stats = engine.wait_at_rest()
                    got = collections.defaultdict(list)
                    for data, (_, port) in arrived:
                        flow, number = struct.unpack_from(">II", data)
                        self.assertEqual((flow, len(data)), (port - 30100, 8 + (number * self.FLOWS + flow) % 1000))
                        got[flow].append(number)
                    for s in sockets:
                        s.close()
                for flow in range(self.FLOWS):
                    self.assertEqual(got[flow], list(range(self.DATAGRAMS // self.FLOWS)), f"flow {flow}")
                self.assertEqual(stats["flows_opened"], self.FLOWS)
                self.assertEqual(stats["handed_off"] > 0, workers > 1)
                self.assertEqual(engine.stop(), 0, engine.log())


class Crossing:
    """Frames sent by hand at both ends."""

    port, well_formed, malformed = AF_PACKET, frames.WELL_FORMED, frames.MALFORMED

    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.engine = lab.Engine(self.lab, self.lab.config(4, self.port, rdr={"destinations": []})).wait_running()

    def test_every_frame_crosses_unchanged_and_is_counted_by_reason(self):
        malformed = {name: frame for name, (_, frame) in self.malformed.items()}
        client, server = self.lab.observe()
        for namespace, interface in ((self.lab.client, "c0"), (self.lab.server, "s0")):
            with lab.inside(namespace):
                s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.bind((interface, 0))
            for frame in (*self.well_formed.values(), *malformed.values()):
                s.send(frame)
            s.close()
        stats = self.engine.wait_at_rest()
        drops = self.engine.drops()
        up_sent, down_got = client.stop()
        down_sent, up_got = server.stop()
        names = {hashlib.sha1(frame).digest(): name for name, frame in {**self.well_formed, **malformed}.items()}
        for way, sent, got in (("up", up_sent, up_got), ("down", down_sent, down_got)):
            self.assertEqual(set(sent.frames), set(names), way)
            self.assertEqual([name for digest, name in names.items() if got.frames[digest] != 1], [], f"{way}: lost or doubled")
            self.assertEqual(got.frames.total(), len(names), f"{way}: arrived, never sent")
        reasons = collections.Counter(reason for reason, _ in self.malformed.values())
        self.assertEqual(drops, {reason: 2 * count for reason, count in reasons.items()})
        self.assertEqual(stats["received_packets"], 2 * len(names))
        self.assertEqual(stats["forwarded_packets"], 2 * len(self.well_formed))
        self.assertEqual(stats["dropped_packets"], 0)
        self.assertEqual(self.engine.stop(), 0, self.engine.log())


class FramesOverAfPacket(Crossing, unittest.TestCase):
    pass


class FramesOverAfXdp(Crossing, unittest.TestCase):
    port = AF_XDP
    well_formed = {**frames.WELL_FORMED, **frames.NOT_FOR_AF_PACKET}
    malformed = {**frames.MALFORMED, **frames.MALFORMED_NOT_FOR_AF_PACKET}


class Fragments(unittest.TestCase):
    """Datagrams larger than a packet, sent by the kernel."""

    SIZES = (4000, 8192, 20000, 1473, 65507)

    def test_large_datagrams_arrive_and_belong_to_their_flow(self):
        with lab.Lab() as the_lab:
            engine = lab.Engine(the_lab, the_lab.config(4, AF_XDP, rdr={"destinations": []})).wait_running()
            client, server = the_lab.observe()
            with lab.free_socket(socket.SOCK_DGRAM, the_lab.server, (SERVER_IP, 40011)) as receiver, \
                    lab.free_socket(socket.SOCK_DGRAM, the_lab.client, (CLIENT_IP, 30200)) as sender:
                for number, size in enumerate(self.SIZES * 4):
                    sent = random.Random(number).randbytes(size)
                    sender.sendto(sent, (SERVER_IP, 40011))
                    self.assertEqual(receiver.recv(65536), sent, size)
            stats, flows = engine.wait_at_rest(), engine.flows()
            (up_sent, _), (_, up_got) = client.stop(), server.stop()
            self.assertEqual(up_got.frames, up_sent.frames)
            self.assertGreater(stats["first_fragments"], 0)
            self.assertEqual(set(flows), {(UDP, CLIENT_IP, 30200, SERVER_IP, 40011)})
            (flow,) = flows.values()
            arp = engine.drops()["not_ip"]
            self.assertEqual(flow["packets_up"], stats["received_packets"] - arp)
            packets = [-(-(size + 8) // 1480) for size in self.SIZES]
            self.assertEqual(flow["packets_up"], 4 * sum(packets))
            self.assertEqual(flow["bytes_up"], 4 * sum(size + 8 + 20 * n for size, n in zip(self.SIZES, packets)))
            self.assertEqual(engine.stop(), 0, engine.log())


class Links(unittest.TestCase):
    def test_two_links_are_two_wires_with_usage_of_their_own(self):
        with lab.Lab(links=2) as the_lab:
            collector = lab.Collector(the_lab).wait_listening()
            engine = lab.Engine(the_lab, the_lab.config(4)).wait_running()
            observers = [the_lab.observe(link) for link in range(2)]
            for link, datagrams in enumerate((100, 37)):
                with lab.free_socket(socket.SOCK_DGRAM, the_lab.server, (f"10.9.{link}.2", 40012)) as receiver, \
                        lab.free_socket(socket.SOCK_DGRAM, the_lab.client, (f"10.9.{link}.1", 30210)) as sender:
                    for _ in range(datagrams):
                        sender.sendto(bytes(1000), (f"10.9.{link}.2", 40012))
                        receiver.recv(2000)
            engine.wait_at_rest()
            flows = engine.flows()
            seen = [(client.stop(), server.stop()) for client, server in observers]
            for link, datagrams in enumerate((100, 37)):
                (up_sent, down_got), (down_sent, up_got) = seen[link]
                key = (UDP, f"10.9.{link}.1", 30210, f"10.9.{link}.2", 40012)
                self.assertEqual((up_got.frames, down_got.frames), (up_sent.frames, down_sent.frames))
                self.assertEqual(set(up_got.flows), {key})
                self.assertEqual((flows[key]["link"], flows[key]["packets_up"]), (("lab", "lab1")[link], datagrams))
            self.assertEqual(engine.stop(), 0, engine.log())
            self.assertEqual(collector.stop(), 0, collector.log())
            usage = collections.Counter()
            for row in collector.rows("RPT_LUR"):
                usage[row["LINK_ID"]] += row["UPSTREAM_VOLUME"]
            self.assertEqual(usage, {link: datagrams * 1028 // 1024 for link, datagrams in enumerate((100, 37))})


class Ipv6(unittest.TestCase):
    def test_http_over_ipv6_with_records_to_the_byte(self):
        with lab.Lab(ipv6=True) as the_lab:
            os.mkdir(the_lab.path("www"))
            lab.make_certificate(the_lab, "www.example.org")
            page = random.Random(3).randbytes(100000)
            with open(the_lab.path("www/page"), "wb") as f:
                f.write(page)
            collector = lab.Collector(the_lab).wait_listening()
            engine = lab.Engine(the_lab, the_lab.config(2)).wait_running()
            lab.Program(the_lab, the_lab.server, "servers", lab.sys.executable, SERVERS, the_lab.folder).wait_until("ready")
            client, server = the_lab.observe()
            lab.command("ip", "netns", "exec", the_lab.client, "curl", "--silent", "--show-error", "--fail", "--max-time", "30",
                        "--local-port", "30301", "--output", the_lab.path("got"), f"http://[{SERVER_IPV6}]:{HTTP_PORT}/page")
            with open(the_lab.path("got"), "rb") as f:
                self.assertEqual(f.read(), page)
            engine.wait_at_rest()
            flows = engine.flows()
            (up_sent, down_got), (down_sent, up_got) = client.stop(), server.stop()
            # of this flow alone: kernels send neighbour and group messages at any time
            up, down = (TCP, CLIENT_IPV6, 30301, SERVER_IPV6, HTTP_PORT), (TCP, SERVER_IPV6, HTTP_PORT, CLIENT_IPV6, 30301)
            self.assertEqual((up_got.flows[up], down_got.flows[down]), (up_sent.flows[up], down_sent.flows[down]))
            self.assertEqual(flows[up]["protocol"], "HTTP")
            self.assertEqual(engine.stop(), 0, engine.log())
            self.assertEqual(collector.stop(), 0, collector.log())
            (row,) = collector.rows("RPT_HTTP")
            self.assertEqual((row["IP_TYPE"], row["CLIENT_IPV6"], row["SERVER_IPV6"]), (1, CLIENT_IPV6, SERVER_IPV6))
            self.assertEqual((row["CLIENT_IP"], row["SERVER_IP"]), (0, 0))
            self.assertEqual(row["SESSION_UPSTREAM_VOLUME"], up_got.flows[up][1])
            self.assertEqual(row["SESSION_DOWNSTREAM_VOLUME"], down_got.flows[down][1])


if __name__ == "__main__":
    lab.main()
