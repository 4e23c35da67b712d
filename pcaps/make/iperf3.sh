#!/bin/bash
# iperf3: a server on 5201 and one on 15201; TCP, TCP in reverse over IPv6, UDP; each a few dozen kilobytes.
PACKAGES="iperf3"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.52/24 2001:db8:2::52/64
bg server iperf3 -s
bg server iperf3 -s -p 15201
wait_port server tcp 5201 15201

capture pcap
on client iperf3 -c 198.51.100.52 -n 50K -l 1400 >tcp.out
on client iperf3 -c 2001:db8:2::52 -R -n 40K -l 1400 >reverse.out
on client iperf3 -c 198.51.100.52 -p 15201 -u -n 30K -l 1000 -b 2M >udp.out
grep -q receiver tcp.out && grep -q receiver reverse.out && grep -q receiver udp.out

truth 6 10.1.0.2 '*' 198.51.100.52 5201 iperf3 - oneway
truth 6 2001:db8:1::2 '*' 2001:db8:2::52 5201 iperf3 -
truth 6 10.1.0.2 '*' 198.51.100.52 15201 iperf3 -
truth 17 10.1.0.2 '*' 198.51.100.52 15201 iperf3 -
expect 4 'tcp.port == 5201 and tcp.len == 37'
expect 20 'udp.port == 15201'
finish
