#!/bin/bash
# The same small exchange (nginx and curl, bind9 and dig with an answer in IPv4 fragments) through a tunnel device, captured there:
# link type raw IP, no Ethernet header. OpenVPN makes the tunnel; its own packets are not in the capture.
PACKAGES="nginx-light curl bind9 bind9-dnsutils openvpn"
. "$(dirname "$0")/lib.sh"
. "$MAKE_DIR/small.inc"
small_servers
openvpn --genkey secret static.key
tunnel() { # tunnel HOST LOCAL REMOTE PEER
    bg "$1" openvpn --dev tun0 --proto udp --port 1194 --remote "$4" --secret static.key \
        --ifconfig "$2" "$3" --cipher AES-256-CBC --providers default
}
tunnel server 198.51.100.111 10.1.0.9 10.1.0.2
tunnel client 10.1.0.9 198.51.100.111 198.51.100.110
for _ in {1..150}; do
    ip -n client addr show tun0 2>&1 | grep -q 10.1.0.9 && ip -n server addr show tun0 2>&1 | grep -q 10.1.0.9 && break
    sleep 0.1
done
capture pcap client tun0 RAW
SERVER=198.51.100.111
small_exchange
CLIENT=10.1.0.9
small_truth
expect 1 'ip.flags.mf == 1'
finish
