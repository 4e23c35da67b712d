"""Frames made by hand: odd ones that must cross unchanged, and malformed ones with the reason under which they are counted."""
import struct

CLIENT_MAC, SERVER_MAC = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"  # nobody's: the hosts' kernels look at these frames and forget them
CLIENT, SERVER = bytes((198, 51, 100, 1)), bytes((198, 51, 100, 2))
CLIENT_V6, SERVER_V6 = bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("20010db8" + "00" * 11 + "02")
TCP, UDP, ICMP, SCTP, IPIP, GRE = 6, 17, 1, 132, 4, 47
TAIL = bytes(range(64))


def ethernet(ether_type, payload, destination=SERVER_MAC):
    return destination + CLIENT_MAC + struct.pack(">H", ether_type) + payload


def checksum(header):
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(proto, payload, first_byte=0x45, total=None, fragment=0, ident=0, options=b""):
    total = 20 + len(options) + len(payload) if total is None else total
    header = struct.pack(">BBHHHBBH4s4s", first_byte, 0, total, ident, fragment, 64, proto, 0, CLIENT, SERVER) + options
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(next_header, payload, length=None):
    return struct.pack(">IHBB", 6 << 28, len(payload) if length is None else length, next_header, 64) + CLIENT_V6 + SERVER_V6 + payload


def udp(source, destination, payload, length=None):
    return struct.pack(">HHHH", source, destination, 8 + len(payload) if length is None else length, 0) + payload


def tcp(source, destination, flags, payload=b"", offset=5):
    return struct.pack(">HHIIBBHHH", source, destination, 1, 0, offset << 4, flags, 8192, 0, 0) + payload


def tag(tpid, number, frame):
    return frame[:12] + struct.pack(">HH", tpid, number) + frame[12:]


def plain(port):
    return ethernet(0x0800, ipv4(UDP, udp(port, 9, TAIL)))


def tunnels(depth):
    packet = ipv4(UDP, udp(5007, 9, TAIL))
    for _ in range(depth):
        packet = ipv4(IPIP, packet)
    return packet


def fragments(ident, sizes, reverse):
    """A datagram of UDP in fragments of these sizes (multiples of 8 but the last)."""
    datagram = udp(5100 + ident, 9, bytes(sum(sizes) - 8))
    parts, at = [], 0
    for size in sizes:
        more = 0x2000 if at + size < len(datagram) else 0
        parts.append(ethernet(0x0800, ipv4(UDP, datagram[at : at + size], fragment=more | at // 8, ident=ident)))
        at += size
    return parts[::-1] if reverse else parts


# name -> frame; each is judged and forwarded
WELL_FORMED = {
    "UDP over IPv4": plain(5001),
    "UDP over IPv6": ethernet(0x86DD, ipv6(UDP, udp(5002, 9, TAIL))),
    "IPv4 with options": ethernet(0x0800, ipv4(UDP, udp(5003, 9, TAIL), 0x46, options=b"\x94\x04\0\0")),
    "one VLAN tag": tag(0x8100, 100, plain(5004)),
    "two VLAN tags of 0x8100": tag(0x8100, 100, tag(0x8100, 7, plain(5005))),
    "priority tag, VLAN 0": tag(0x8100, 0xA000, plain(5006)),
    "IP in IP": ethernet(0x0800, tunnels(2)),
    "MPLS": ethernet(0x8847, struct.pack(">I", 16 << 12 | 1 << 8 | 64) + ipv4(UDP, udp(5008, 9, TAIL))),
    "PPPoE session": ethernet(0x8864, struct.pack(">BBHHH", 0x11, 0, 1, 2 + 92, 0x21) + ipv4(UDP, udp(5009, 9, TAIL[:64]))),
    "GRE": ethernet(0x0800, ipv4(GRE, TAIL)),
    "TCP SYN": ethernet(0x0800, ipv4(TCP, tcp(5010, 9, 0x02))),
    "SCTP": ethernet(0x0800, ipv4(SCTP, struct.pack(">HHII", 5011, 9, 1, 0) + TAIL)),
    "ICMP echo": ethernet(0x0800, ipv4(ICMP, struct.pack(">BBHHH", 8, 0, 0, 1, 1) + TAIL)),
    "padding after the packet": ethernet(0x0800, ipv4(UDP, udp(5012, 9, b"x"))) + bytes(17),
    "largest frame": ethernet(0x0800, ipv4(UDP, udp(5013, 9, bytes(1472)))),
    "to all": ethernet(0x0800, ipv4(UDP, udp(5014, 9, TAIL)), b"\xff" * 6),
    "to a group": ethernet(0x0800, ipv4(UDP, udp(5015, 9, TAIL)), b"\x01\0\x5e\0\0\x05"),
}

# Well-formed ones that net_af_packet does not keep: its kernel side puts fragments together and knows one kind of tag.
NOT_FOR_AF_PACKET = {"QinQ": tag(0x88A8, 100, tag(0x8100, 7, plain(5016)))}
for _name, _parts in (("fragment", fragments(1, (1480, 1480, 100), False)), ("fragment, last first", fragments(2, (1480, 800, 24), True))):
    NOT_FOR_AF_PACKET.update({f"{_name} {n}": part for n, part in enumerate(_parts)})

# name -> (reason, frame); each is bypassed under that reason
MALFORMED = {
    "ARP": ("not_ip", ethernet(0x0806, struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, CLIENT_MAC, CLIENT, bytes(6), SERVER))),
    "LLDP": ("not_ip", ethernet(0x88CC, b"\x02\x07\x04" + CLIENT_MAC + bytes(8), b"\x01\x80\xc2\0\0\x0e")),
    "unknown type": ("not_ip", ethernet(0x1234, TAIL)),
    "five tags": ("too_many_tags", tag(0x8100, 1, tag(0x8100, 2, tag(0x8100, 3, tag(0x8100, 4, tag(0x8100, 5, plain(1))))))),
    "second tag cut off": ("short_vlan", tag(0x8100, 1, ethernet(0x8100, b"\0\0\0"))),
    "label stack cut off": ("short_mpls", ethernet(0x8847, b"\0\1\0")),
    "PPPoE of another version": ("bad_pppoe", ethernet(0x8864, struct.pack(">BBHHH", 0x21, 0, 1, 30, 0x21) + ipv4(UDP, TAIL[:8]))),
    "version 5": ("bad_ip_version", ethernet(0x0800, ipv4(UDP, udp(1, 2, TAIL), 0x55))),
    "ten bytes of IPv4": ("short_ipv4", ethernet(0x0800, ipv4(UDP, b"")[:10])),
    "no byte of IPv4": ("short_ipv4", ethernet(0x0800, b"")),
    "header length 16": ("bad_ipv4_header_length", ethernet(0x0800, ipv4(UDP, udp(1, 2, TAIL), 0x44))),
    "header length past the end": ("bad_ipv4_header_length", ethernet(0x0800, ipv4(UDP, b"", 0x4F))),
    "total length 19": ("bad_ipv4_total_length", ethernet(0x0800, ipv4(UDP, udp(1, 2, TAIL), total=19))),
    "39 bytes of IPv6": ("short_ipv6", ethernet(0x86DD, ipv6(UDP, b"")[:39])),
    "extension header past the end": ("bad_ipv6_extension", ethernet(0x86DD, ipv6(0, b"\x11\xff" + bytes(6)))),
    "nine extension headers": ("bad_ipv6_extension", ethernet(0x86DD, ipv6(60, (b"\x3c\0" + bytes(6)) * 9 + b"\x11\0" + bytes(6)))),
    "7 bytes of TCP": ("short_tcp", ethernet(0x0800, ipv4(TCP, TAIL[:7]))),
    "data offset 4": ("bad_tcp_offset", ethernet(0x0800, ipv4(TCP, tcp(1, 2, 0x10, offset=4)))),
    "data offset past the end": ("bad_tcp_offset", ethernet(0x0800, ipv4(TCP, tcp(1, 2, 0x10, offset=15)))),
    "7 bytes of UDP": ("short_udp", ethernet(0x0800, ipv4(UDP, TAIL[:7]))),
    "UDP length 7": ("bad_udp_length", ethernet(0x0800, ipv4(UDP, udp(1, 2, TAIL, length=7)))),
    "UDP length past the end": ("bad_udp_length", ethernet(0x0800, ipv4(UDP, udp(1, 2, TAIL, length=9 + len(TAIL))))),
    "3 bytes of SCTP": ("short_sctp", ethernet(0x0800, ipv4(SCTP, TAIL[:3]))),
    "3 bytes of ICMP": ("short_icmp", ethernet(0x0800, ipv4(ICMP, TAIL[:3]))),
    "IP in IP, 5 deep": ("too_many_tunnels", ethernet(0x0800, tunnels(5))),
}
MALFORMED_NOT_FOR_AF_PACKET = {"fragment past 65,535": ("bad_fragment", ethernet(0x0800, ipv4(UDP, TAIL, fragment=0x1FFF)))}
