#!/bin/bash
# Telnet: inetutils-telnetd on 23 and 10023; inetutils-telnet talks to a small shell behind it, with option negotiation.
PACKAGES="inetutils-telnetd inetutils-telnet socat"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.23/24 2001:db8:2::23/64
for port in 23 10023; do
    bg server socat TCP6-LISTEN:$port,fork,reuseaddr,ipv6only=0 "EXEC:'/usr/sbin/telnetd -h -E /bin/sh',nofork"
done
wait_port server tcp 23 10023

capture pcap
talk() { # talk ADDR PORT: types a few commands
    (sleep 1; for c in 'uname -s' 'seq 40' 'cat /etc/debian_version' exit; do printf '%s\r' "$c"; sleep 0.4; done) |
        timeout 20 ip netns exec client telnet -E "$1" "$2" >talk.out 2>&1 || true
    grep -q Linux talk.out
}
talk 198.51.100.23 23
talk 198.51.100.23 10023
talk 2001:db8:2::23 23

truth 6 10.1.0.2 '*' 198.51.100.23 23 Telnet -
truth 6 10.1.0.2 '*' 198.51.100.23 10023 Telnet -
truth 6 2001:db8:1::2 '*' 2001:db8:2::23 23 Telnet -
expect 6 'telnet.cmd' -d tcp.port==10023,telnet
finish
