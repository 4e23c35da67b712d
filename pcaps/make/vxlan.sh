#!/bin/bash
# The same small exchange (nginx and curl, bind9 and dig) through a VXLAN tunnel of the kernel's, captured outside it: the outer
# flow is UDP to port 4789.
PACKAGES="nginx-light curl bind9 bind9-dnsutils"
. "$(dirname "$0")/lib.sh"
. "$MAKE_DIR/small.inc"
small_servers
tunnel() { # tunnel HOST LOCAL REMOTE ADDR
    ip -n "$1" link add vx0 type vxlan id 42 local "$2" remote "$3" dstport 4789 dev eth0
    ip -n "$1" addr add "$4" dev vx0
    ip -n "$1" link set vx0 mtu 1400 up
    ip netns exec "$1" ethtool -K vx0 tx off tso off gso off gro off >log/ethtool
}
tunnel client 10.1.0.2 198.51.100.110 192.0.2.1/24
tunnel server 198.51.100.110 10.1.0.2 192.0.2.2/24
capture pcap
SERVER=192.0.2.2
small_exchange
truth 17 10.1.0.2 '*' 198.51.100.110 4789 VXLAN - oneway
truth 17 198.51.100.110 '*' 10.1.0.2 4789 VXLAN - oneway
expect 2 'vxlan and http'
finish
