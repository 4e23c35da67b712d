#!/usr/bin/python3
"""Makes seeds for the fuzz targets from the captures in pcaps/: the first payloads of their flows, in each target's own form.

usage: tests/fuzz/seeds.py OUTPUT_FOLDER [CAPTURE_FOLDER]

Writes OUTPUT_FOLDER/TARGET/CAPTURE-N. What each target reads stands at the top of its fuzz_NAME.c and of fuzz_inspect.h.
"""
import glob
import os
import struct
import sys

from scapy.all import IP, TCP, UDP, IPv6, PcapReader

FLOWS_MAX = 6  # a capture
PACKETS_MAX = 12  # a flow
TCP_TARGETS = {"http1": "http", "http2": "http", "proxy": "http", "websocket": "http", "tls": "tls", "doh": "tls", "ssh": "ssh",
               "git": "ssh", "smtp": "tls"}
UDP_TARGETS = {"dns": "dns", "mdns": "dns", "quic": "quic", "dtls": "dtls"}


def flows_of(path):
    """[(is_v6, is_udp, server port, [(from_server, payload)])]"""
    flows = {}
    with PcapReader(path) as packets:
        for packet in packets:
            ip = packet[IP] if IP in packet else packet[IPv6] if IPv6 in packet else None
            layer = TCP if ip is not None and TCP in ip else UDP if ip is not None and UDP in ip else None
            if layer is None:
                continue
            t = ip[layer]
            size = (ip.len - 4 * ip.ihl if ip.version == 4 else ip.plen) - (4 * t.dataofs if layer is TCP else 8)
            payload = bytes(t.payload)[: max(size, 0)]
            ends = (ip.src, t.sport), (ip.dst, t.dport)
            key = layer, frozenset(ends)
            if key not in flows and len(flows) < FLOWS_MAX:
                flows[key] = ends[0], (ip.version == 6, layer is UDP, t.dport, [])
            if key in flows and payload and len(flows[key][1][3]) < PACKETS_MAX:
                flows[key][1][3].append((ends[0] != flows[key][0], payload))
    return [flow for _, flow in flows.values() if flow[3]]


def engine_seed(flow):
    is_v6, is_udp, port, packets = flow
    out = struct.pack(">BH", is_v6 | is_udp << 1, port)
    for from_server, payload in packets:
        payload = payload[:1399]
        out += struct.pack(">BBH", from_server << 7, 0, len(payload)) + payload
    return out


def inspector_seed(flow, from_server):
    is_udp, packets = flow[1], flow[3]
    if is_udp:
        return bytes([0]) + b"".join(struct.pack(">H", side << 15 | len(p)) + p for side, p in packets)
    stream = b"".join(p for side, p in packets if side == from_server)[:8192]
    return bytes([from_server]) + struct.pack(">H", min(len(stream) // 3, 65535)) + stream if stream else b""


def write(folder, target, name, data):
    if data:
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        with open(os.path.join(folder, target, name), "wb") as out:
            out.write(data)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    captures = sys.argv[2] if len(sys.argv) == 3 else os.path.join(top, "pcaps")
    for path in sorted(glob.glob(captures + "/*.pcap") + glob.glob(captures + "/*.pcapng")):
        base = os.path.basename(path).split(".")[0]
        for number, flow in enumerate(flows_of(path)):
            write(sys.argv[1], "engine", "%s-%d" % (base, number), engine_seed(flow))
            for begin, target in (UDP_TARGETS if flow[1] else TCP_TARGETS).items():
                if base.startswith(begin):
                    for side in (0, 1) if not flow[1] else (0,):
                        write(sys.argv[1], target, "%s-%d-%d" % (base, number, side), inspector_seed(flow, side))


main()
