"""A lab for `sce run`: a client and a server, each in a network namespace of its own, joined by the engine and nothing else.

    client: c0 10.9.0.1 --- p0 | bump: sce run, sce collect | p1 --- s0 10.9.0.2 :server

Observers stand at c0 and s0, outside of the engine: they see each frame as the host's kernel sent or got it, and tell when
they lost one, so that what they counted can be compared to the byte. Hosts neither merge, split nor finish later what they
send (offloads off), and TCP windows are smaller than any queue on the way, so nothing needs to get lost.

Namespaces carry the process id in their names; what a killed run left behind is removed by the next one.
"""
import argparse
import collections
import contextlib
import ctypes
import hashlib
import ipaddress
import json
import os
import pickle
import select
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

PREFIX = "sce-net-"
CLIENT_IP, SERVER_IP = "10.9.0.1", "10.9.0.2"
CLIENT_IPV6, SERVER_IPV6 = "fd00:9::1", "fd00:9::2"
RECORDS_PORT = 33000
TCP_WINDOW_BYTES = 262144
WAIT_S = 20  # longest wait for anything that should happen at once; generous, since machines of tests are busy

SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
PACKET_OUTGOING = 4
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
CLONE_NEWNET, PR_SET_PDEATHSIG = 0x40000000, 1
ETH_P_ALL = 3

libc = ctypes.CDLL(None, use_errno=True)
sce_path = "sce"


def wait_for(what, condition, limit_s=WAIT_S):
    """Polls until `condition()` is true and returns what it returned."""
    end = time.monotonic() + limit_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {limit_s} s")
        time.sleep(0.02)


def command(*argv):
    """Runs a program to its end; its stdout. Its stderr is the error when it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S * 3)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def inside(namespace):
    """This thread is in a namespace meanwhile; a socket stays in the namespace where it was made."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), CLONE_NEWNET):
                os._exit(70)  # nothing that follows would be true


def free_socket(kind, namespace, source=None):
    """A socket of AF_INET in a namespace, bound to `source` (address, port)."""
    with inside(namespace):
        s = socket.socket(socket.AF_INET, kind)
    s.settimeout(WAIT_S)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source:
        s.bind(source)
    return s


# ---- observers ----


class Seen:
    """What an observer saw in one direction."""

    def __init__(self):
        self.frames = collections.Counter()  # of SHA-1 of each frame
        self.bytes = 0  # of frames
        # of TCP and UDP, but not in fragments or tunnels:
        self.flows = {}  # (IP protocol, source, port, destination, port) -> [packets, bytes by the IP headers' lengths]

    def add(self, frame):
        self.frames[hashlib.sha1(frame).digest()] += 1
        self.bytes += len(frame)
        at, ether_type = 14, frame[12:14]
        while ether_type in (b"\x81\x00", b"\x88\xa8"):
            ether_type, at = frame[at + 2 : at + 4], at + 4
        if len(frame) < at + 20:
            return
        if ether_type == b"\x08\x00" and frame[at] == 0x45 and not int.from_bytes(frame[at + 6 : at + 8], "big") & 0x3FFF:
            proto, addresses, ports, size = frame[at + 9], 12, 20, int.from_bytes(frame[at + 2 : at + 4], "big")
        elif ether_type == b"\x86\xdd":
            proto, addresses, ports, size = frame[at + 6], 8, 40, 40 + int.from_bytes(frame[at + 4 : at + 6], "big")
        else:
            return
        if proto in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(frame) >= at + ports + 4:
            flow = self.flows.setdefault((proto, frame[at + addresses : at + ports], frame[at + ports : at + ports + 4]), [0, 0])
            flow[0] += 1
            flow[1] += size

    def named(self):
        """Keys of `flows` become text."""
        flows = {}
        for (proto, addresses, ports), counts in self.flows.items():
            half = len(addresses) // 2
            source, destination = (str(ipaddress.ip_address(a)) for a in (addresses[:half], addresses[half:]))
            source_port, destination_port = struct.unpack(">HH", ports)
            flows[(proto, source, source_port, destination, destination_port)] = counts
        self.flows = flows
        return self


def restore_tag(frame, ancillary):
    """The kernel takes the outer VLAN tag out of a frame and tells it beside."""
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(data) >= 20:
            status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", data)
            if status & TP_STATUS_VLAN_VALID:
                tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                return frame[:12] + struct.pack(">HH", tpid, tci) + frame[12:]
    return frame


class Observer:
    """Counts each frame that an interface sends and gets, in a process of its own."""

    def __init__(self, namespace, interface):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 512 << 20)  # SO_RCVBUFFORCE
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.bind((interface, ETH_P_ALL))
        self.stop_pipe, self.result_pipe = os.pipe(), os.pipe()
        self.process = os.fork()
        if self.process == 0:
            status = 1
            try:
                die_with_parent()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._watch()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(self.result_pipe[1])
        os.close(self.stop_pipe[0])
        self.socket.close()

    def _watch(self):
        os.close(self.stop_pipe[1])
        sent, received = Seen(), Seen()
        stopping = False
        while True:
            try:
                while True:
                    frame, ancillary, _, address = self.socket.recvmsg(65536, 256, socket.MSG_DONTWAIT)
                    (sent if address[2] == PACKET_OUTGOING else received).add(restore_tag(frame, ancillary))
            except BlockingIOError:
                if stopping:
                    break
            stopping = self.stop_pipe[0] in select.select([self.socket, self.stop_pipe[0]], [], [])[0]
        _, lost = struct.unpack("=II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        with os.fdopen(self.result_pipe[1], "wb") as pipe:
            pickle.dump((sent.named(), received.named(), lost), pipe)

    def stop(self):
        """(sent, received) of the interface's host; raises when the observer itself lost a frame."""
        os.write(self.stop_pipe[1], b"!")
        os.close(self.stop_pipe[1])
        with os.fdopen(self.result_pipe[0], "rb") as pipe:
            result = pipe.read()
        os.waitpid(self.process, 0)
        self.process = None
        if not result:
            raise AssertionError("the observer ended early")
        sent, received, lost = pickle.loads(result)
        if lost:
            raise AssertionError(f"the observer lost {lost} frames: it cannot testify")
        return sent, received

    def kill(self):
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = None


# ---- programs ----


class Program:
    """A process in a namespace, with its output in files."""

    def __init__(self, lab, namespace, name, *argv, folder=None):
        self.name = name
        self.out_path, self.log_path = lab.path(f"{name}.out"), lab.path(f"{name}.log")
        with open(self.out_path, "wb") as out, open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", namespace, *argv], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=log, cwd=folder, preexec_fn=die_with_parent)
        lab.programs.append(self)

    def out(self):
        with open(self.out_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_until(self, text, limit_s=WAIT_S):
        def ready():
            if text in self.out() or text in self.log():
                return True
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log()}")
            return False

        wait_for(f"{self.name} says {text!r}", ready, limit_s)
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, limit_s=WAIT_S):
        """Its exit code."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {limit_s} s: {self.log()}") from None

    def stop(self, limit_s=WAIT_S):
        self.signal(signal.SIGTERM)
        return self.wait(limit_s)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Engine(Program):
    def __init__(self, lab, config, name="engine", socket_path=None):
        self.socket_path = socket_path or lab.path(f"{name}.sock")
        path = lab.path(f"{name}.yaml")
        with open(path, "w", encoding="utf-8") as f:
            if isinstance(config, dict):
                json.dump({**config, "control": {"socket": self.socket_path}}, f, indent=2)  # JSON is YAML
            else:
                f.write(config)
        super().__init__(lab, lab.bump, name, sce_path, "run", "-c", path)

    def wait_running(self):
        return self.wait_until("workers; running")

    def show(self, what, *options):
        """Rows of `sce show WHAT --json`."""
        out = command(sce_path, "show", what, "--json", "--socket", self.socket_path, *options)
        return [json.loads(line) for line in out.splitlines()]

    def stats(self):
        return next(row for row in self.show("stats") if row["event"] == "stats")

    def flows(self):
        """{(IP protocol, client, port, server, port): row} of live flows."""
        rows = [row for row in self.show("flows", "--limit", "10000") if row["event"] == "flow"]
        return {(r["ip_proto"], r["client_ip"], r["client_port"], r["server_ip"], r["server_port"]): r for r in rows}

    def drops(self):
        """{reason: packets} of those that were dropped or bypassed."""
        return {row["reason"]: row["packets"] for row in self.show("drops") if row["packets"]}

    def wait_at_rest(self):
        """Statistics when nothing has come for half a second."""
        same = [None]

        def at_rest():
            stats = self.stats()
            if same[0] is None or stats["received_packets"] != same[0]["received_packets"]:
                same[:] = []
            same.append(stats)
            time.sleep(0.125)
            return len(same) > 4 and stats

        return wait_for("traffic comes to rest", at_rest)


class Collector(Program):
    def __init__(self, lab, name="collector", port=RECORDS_PORT):
        self.db_path = lab.path(f"{name}.sqlite")
        super().__init__(lab, lab.bump, name, sce_path, "collect", "--listen", f"127.0.0.1:{port}", "--db", self.db_path, "--json")

    def wait_listening(self):
        return self.wait_until("listening on")

    def totals(self):
        """What it said when it ended."""
        return json.loads(self.out().splitlines()[-1])

    def rows(self, table, columns="*"):
        """All rows of a table as dictionaries; none when no such record ever came."""
        with contextlib.closing(sqlite3.connect(f"file:{self.db_path}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(f"SELECT {columns} FROM {table}")]


def make_certificate(lab, host):
    """A throw-away one in the lab's folder: cert.pem, key.pem."""
    command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={host}",
            "-addext", f"subjectAltName=DNS:{host}", "-keyout", lab.path("key.pem"), "-out", lab.path("cert.pem"))


# ---- the lab ----


def remove_left_namespaces():
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name[len(PREFIX):].split('-')[0]}"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class Lab:
    serial = 0
    open_labs = []

    def __init__(self, ipv6=False, links=1):
        """With `links` > 1 there is c1 10.9.1.1 --- p2 | bump | p3 --- s1 10.9.1.2, and so on."""
        Lab.serial += 1
        Lab.open_labs.append(self)
        base = f"{PREFIX}{os.getpid()}-{Lab.serial}"
        self.client, self.bump, self.server = (f"{base}-{n}" for n in ("client", "bump", "server"))
        self.folder = tempfile.mkdtemp(prefix=PREFIX)
        self.programs, self.observers = [], []
        self.links = links
        try:
            self._build(ipv6)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _build(self, ipv6):
        for namespace in (self.client, self.bump, self.server):
            command("ip", "netns", "add", namespace)
            off = int(not ipv6 or namespace == self.bump)
            settings = [f"net.ipv6.conf.{which}.disable_ipv6={off}" for which in ("default", "all")]
            settings += [f"net.ipv4.tcp_{m}mem=4096 65536 {TCP_WINDOW_BYTES}" for m in ("r", "w")]
            settings += ["net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.router_solicitations=0"]
            command("ip", "netns", "exec", namespace, "sysctl", "-qw", *settings)
            command("ip", "-n", namespace, "link", "set", "lo", "up")
        for link in range(self.links):
            for host, outside, within, last in ((self.client, f"c{link}", f"p{2 * link}", 1), (self.server, f"s{link}", f"p{2 * link + 1}", 2)):
                command("ip", "link", "add", outside, "netns", host, "type", "veth", "peer", "name", within, "netns", self.bump)
                command("ip", "netns", "exec", host, "ethtool", "-K", outside, "tx", "off", "rx", "off", "gro", "off")
                command("ip", "-n", self.bump, "link", "set", within, "up")
                command("ip", "-n", host, "link", "set", outside, "up")
                command("ip", "-n", host, "addr", "add", f"10.9.{link}.{last}/24", "dev", outside)
                if ipv6:
                    command("ip", "-n", host, "addr", "add", f"fd00:{9 + link:x}::{last}/64", "dev", outside, "nodad")

    def path(self, name):
        return os.path.join(self.folder, name)

    def config(self, workers=1, port="net_af_packet{n},iface=p{n},framecnt=4096", mode="inline", rdr=None, flow_table=None, **sections):
        """A configuration; `rdr` and `flow_table` add to or replace keys of theirs."""
        return {
            "links": [
                {"name": f"lab{link or ''}", "subscriber": port.format(n=2 * link), "network": port.format(n=2 * link + 1), "mode": mode}
                for link in range(self.links)
            ],
            "workers": {"count": workers, "idle": "yield"},
            "memory": {"hugepages": "off"},
            "flow_table": {"capacity_flows": 65536, **(flow_table or {})},
            "rdr": {
                "destinations": [{"host": "127.0.0.1", "port": RECORDS_PORT}],
                "transaction_usage": True,
                "flow_events": True,
                **(rdr or {}),
            },
            **sections,
        }

    def observe(self, link=0):
        """Observers at both hosts: (client's, server's)."""
        self.observers += [Observer(self.client, f"c{link}"), Observer(self.server, f"s{link}")]
        return self.observers[-2:]

    def interface_counters(self, namespace, interface):
        """The kernel's own counters of an interface."""
        return json.loads(command("ip", "-n", namespace, "-s", "-j", "link", "show", "dev", interface))[0]["stats64"]

    def sent_by_hosts(self):
        """Frames that the hosts' kernels gave to the wire."""
        return sum(self.interface_counters(n, i)["tx"]["packets"] for n, i in ((self.client, "c0"), (self.server, "s0")))

    def got_by_hosts(self):
        return sum(self.interface_counters(n, i)["rx"]["packets"] for n, i in ((self.client, "c0"), (self.server, "s0")))

    def close(self):
        for observer in self.observers:
            observer.kill()
        for program in reversed(self.programs):
            program.kill()
        for namespace in (self.client, self.bump, self.server):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self in Lab.open_labs:
            Lab.open_labs.remove(self)


# ---- test programs ----


def why_not_permitted():
    """None, or why this machine cannot hold a lab."""
    for tool in ("ip", "ethtool", "sysctl", "curl", "openssl"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}{os.getpid()}-probe"
    try:
        command("ip", "netns", "add", name)
        command("ip", "link", "add", "c0", "netns", name, "type", "veth", "peer", "name", "p0", "netns", name)
        command("ip", "netns", "exec", name, "true")  # mounts, which a bare chroot does not allow
        with inside(name):
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except (RuntimeError, OSError) as error:
        return f"network namespaces are not permitted here: {error}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return None


def default_sce():
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "tools", "sce")


def main(needs_namespaces=True):
    """Runs the tests of the program that calls. Exit 77 with the reason, as the last line, when they cannot run here."""
    global sce_path
    parser = argparse.ArgumentParser(description="Needs root. Exit codes: 0 passed, 1 failed, 77 not possible here.")
    parser.add_argument("--sce", default=os.environ.get("SCE", default_sce()), help="the program under test")
    parser.add_argument("tests", nargs="*", help="only these: CLASS or CLASS.TEST")
    arguments = parser.parse_args()
    sce_path = os.path.abspath(arguments.sce)
    if not os.access(sce_path, os.X_OK):
        sys.exit(f"{sce_path}: no such program; --sce names it")
    reason = why_not_permitted() if needs_namespaces else None
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    remove_left_namespaces()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        unittest.main(module="__main__", argv=[sys.argv[0], *arguments.tests], verbosity=2)
    finally:
        for one in list(Lab.open_labs):
            one.close()
