#!/bin/bash
# NATS: nats-server on 4222; two clients (socat: the protocol is text) subscribe and publish.
PACKAGES="nats-server socat"
. "$(dirname "$0")/lib.sh"

host alice 10.1.0.2/24
host bob 10.1.0.3/24
host server 198.51.100.13/24
bg server nats-server -a 198.51.100.13 -p 4222
wait_port server tcp 4222

capture pcap
(printf 'CONNECT {"verbose":false}\r\nSUB news 1\r\n'; sleep 3; printf 'UNSUB 1\r\n'; sleep 0.3) |
    timeout 10 ip netns exec bob socat - TCP:198.51.100.13:4222 >bob.out &
bob=$!
sleep 1
(printf 'CONNECT {"verbose":true}\r\nPING\r\n'; for i in 1 2 3; do printf 'PUB news 7\r\nhello %d\r\n' $i; sleep 0.2; done) |
    timeout 10 ip netns exec alice socat - TCP:198.51.100.13:4222 >alice.out
wait $bob
grep -q 'hello 3' bob.out

truth 6 10.1.0.2 '*' 198.51.100.13 4222 NATS -
truth 6 10.1.0.3 '*' 198.51.100.13 4222 NATS -
expect 2 'tcp.payload contains "INFO {"'
finish
