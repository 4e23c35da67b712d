#!/usr/bin/python3
"""servers.py FOLDER: the server programs of the lab, until killed. Says "ready" when all of them listen.

HTTP    18080  files of FOLDER/www
HTTPS   18443  the same, with the certificate FOLDER/cert.pem and FOLDER/key.pem
DNS     10053  UDP: answers every A question with 192.0.2.53
sink    40001  TCP: reads to the end, answers with the SHA-256 of it
source  40002  TCP: sends FOLDER/www/bulk and closes

On ports that say nothing about the protocol, so that only their payload can.
"""
import functools
import hashlib
import http.server
import os
import socket
import socketserver
import ssl
import struct
import sys
import threading

HTTP_PORT, HTTPS_PORT, DNS_PORT, SINK_PORT, SOURCE_PORT = 18080, 18443, 10053, 40001, 40002


class Server(socketserver.ThreadingTCPServer):
    """IPv4 and IPv6."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class DnsServer(socketserver.ThreadingUDPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


class Sink(socketserver.BaseRequestHandler):
    def handle(self):
        digest = hashlib.sha256()
        while data := self.request.recv(65536):
            digest.update(data)
        self.request.sendall(digest.digest())


class Source(socketserver.BaseRequestHandler):
    def handle(self):
        with open(os.path.join(folder, "www", "bulk"), "rb") as f:
            self.request.sendfile(f)


class Dns(socketserver.BaseRequestHandler):
    """RFC 1035: header, the question as it came, one A record that points to the question's name."""

    def handle(self):
        message, server_socket = self.request
        end = message.index(0, 12) + 5
        header = message[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        answer = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton("192.0.2.53"))
        server_socket.sendto(header + message[12:end] + answer, self.client_address)


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    web = functools.partial(http.server.SimpleHTTPRequestHandler, directory=os.path.join(folder, "www"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
    https = Server(("::", HTTPS_PORT), web)
    https.socket = tls.wrap_socket(https.socket, server_side=True)
    for server in (Server(("::", HTTP_PORT), web), https, DnsServer(("::", DNS_PORT), Dns), Server(("::", SINK_PORT), Sink),
                   Server(("::", SOURCE_PORT), Source)):
        serve(server)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    folder = sys.argv[1]
    main()
