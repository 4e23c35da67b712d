#!/bin/bash
# ONC RPC: rpcbind on 111 (UDP, TCP); rpcinfo asks by both for the list of programs and calls the null procedure.
PACKAGES="rpcbind"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.11/24
mkdir -p /run/rpcbind
bg server rpcbind -f -i
wait_port server udp 111
wait_port server tcp 111

capture pcap
answer 'portmapper' client rpcinfo -p 198.51.100.11
answer 'portmapper' client rpcinfo 198.51.100.11
answer 'ready and waiting' client rpcinfo -T udp 198.51.100.11 100000 2
answer 'ready and waiting' client rpcinfo -T tcp 198.51.100.11 100000 2

truth 6 10.1.0.2 '*' 198.51.100.11 111 'ONC RPC' -
truth 17 10.1.0.2 '*' 198.51.100.11 111 'ONC RPC' -
expect 3 'rpc.msgtyp == 1 and rpc.program == 100000'
finish
