#!/bin/bash
# memcached on 11211 (TCP and UDP) and 21211; libmemcached's tools store, fetch and delete in the text and the binary protocol.
PACKAGES="memcached libmemcached-tools curl socat"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.64/24 2001:db8:2::64/64
bg server memcached -u nobody -p 11211 -U 11211 -m 8
bg server memcached -u nobody -p 21211 -m 8
wait_port server tcp 11211 21211
wait_port server udp 11211
seq 1 300 >numbers
echo green >colour

capture pcap
on client memccp --servers=198.51.100.64:11211 numbers colour
answer 299 client memccat --servers=198.51.100.64:11211 numbers
on client memccp --binary --servers=198.51.100.64:21211 numbers
answer 299 client memccat --binary --servers=198.51.100.64:21211 numbers
answer . client memcstat --servers=198.51.100.64:11211
on client memcrm --servers=198.51.100.64:11211 colour
answer 'version|VERSION' client curl -sS -m 2 telnet://[2001:db8:2::64]:11211 -T <(printf 'version\r\nget absent\r\nquit\r\n')
printf '\0\1\0\0\0\1\0\0get numbers\r\n' >request
answer 'VALUE numbers' client bash -c 'socat -t 1 - UDP4:198.51.100.64:11211 <request'

truth 6 10.1.0.2 '*' 198.51.100.64 11211 memcached -
truth 6 10.1.0.2 '*' 198.51.100.64 21211 memcached -
truth 6 2001:db8:1::2 '*' 2001:db8:2::64 11211 memcached -
truth 17 10.1.0.2 '*' 198.51.100.64 11211 memcached -
expect 4 'memcache' -d tcp.port==21211,memcache
finish
