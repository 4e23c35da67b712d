#!/bin/bash
# Redis: redis-server on 6379 and 16379 (with a password); redis-cli sets, gets, pipelines, subscribes; IPv4 and IPv6.
PACKAGES="redis-server redis-tools"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.63/24 2001:db8:2::63/64
bg server redis-server --bind 0.0.0.0 :: --protected-mode no --save '' --dir $W
bg server redis-server --port 16379 --bind 0.0.0.0 :: --requirepass secret --save '' --dir $W
wait_port server tcp 6379 16379

capture pcap
cli() { answer "$1" client redis-cli "${@:2}"; }
cli OK -h 198.51.100.63 SET colour green
cli green -h 198.51.100.63 GET colour
cli PONG -h 2001:db8:2::63 PING
cli '^3' -h 198.51.100.63 RPUSH list a b c
cli WRONGTYPE -h 198.51.100.63 GET list
cli OK -h 198.51.100.63 -p 16379 -a secret --no-auth-warning MSET a 1 b 2
cli NOAUTH -h 198.51.100.63 -p 16379 GET a
cli 1 -h 198.51.100.63 -3 HSET user:1 name alice
for i in $(seq 50); do printf 'SET key%d %d\r\n' "$i" "$i"; done >commands
timeout 10 ip netns exec client redis-cli -h 198.51.100.63 --pipe <commands >pipe.out
grep -q 'replies: 50' pipe.out
bg client timeout 3 redis-cli -h 198.51.100.63 SUBSCRIBE news
sleep 0.5
cli 1 -h 198.51.100.63 PUBLISH news hello
sleep 3

truth 6 10.1.0.2 '*' 198.51.100.63 6379 Redis -
truth 6 10.1.0.2 '*' 198.51.100.63 16379 Redis -
truth 6 2001:db8:1::2 '*' 2001:db8:2::63 6379 Redis -
expect 6 'tcp.srcport == 6379 and tcp.len > 0'
finish
