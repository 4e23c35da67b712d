#!/bin/bash
# STUN and TURN: coturn on 3478 and 13478 (UDP, TCP); turnutils_stunclient asks for its address, turnutils_uclient relays packets
# through an allocation to turnutils_peer on another host.
PACKAGES="coturn"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host turn 198.51.100.78/24
host peer 203.0.113.78/24
for port in 3478 13478; do
    bg turn turnserver -n -L 198.51.100.78 -p $port -a -u alice:secret -r example.com --no-tls --no-dtls --no-cli \
        --min-port=$((port + 40000)) --max-port=$((port + 40009)) --allow-loopback-peers --pidfile=$W/turn.$port \
        --db=$W/turn.$port.db --log-file=stdout
done
bg peer turnutils_peer -L 203.0.113.78 -p 3480
wait_port turn udp 3478 13478
wait_port turn tcp 3478
wait_port peer udp 3480

capture pcap
answer 'reflexive addr: 10.1.0.2' client turnutils_stunclient -p 3478 198.51.100.78
answer 'reflexive addr: 10.1.0.2' client turnutils_stunclient -p 13478 198.51.100.78
relay() { # relay ARG...: five packets to the peer and back
    answer 'Total lost packets 0 ' client turnutils_uclient -c -n 5 -m 1 -l 120 -e 203.0.113.78 -r 3480 -u alice -w secret "$@"
}
relay -p 13478 198.51.100.78
relay -t -p 3478 198.51.100.78

truth 17 10.1.0.2 '*' 198.51.100.78 3478 STUN -
truth 17 10.1.0.2 '*' 198.51.100.78 13478 STUN - oneway
truth 6 10.1.0.2 '*' 198.51.100.78 3478 STUN -
for ((p = 0; p < 10; p++)); do
    # what the relay sends on is the payload of uclient, a protocol of nobody
    truth 17 198.51.100.78 $((43478 + p)) 203.0.113.78 3480 - - maybe oneway
    truth 17 198.51.100.78 $((53478 + p)) 203.0.113.78 3480 - - maybe oneway
done
expect 2 'stun.type == 0x0101' -d udp.port==13478,stun
finish
