#!/bin/bash
# WireGuard: wireguard-go on 51820 and 443 (UDP); two clients fetch a page from nginx through their tunnels; one tunnel over IPv6.
PACKAGES="wireguard-go wireguard-tools nginx-light curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host road 10.1.0.3/24
host server 198.51.100.18/24 2001:db8:2::18/64
mkdir www && seq 800 >www/index.html
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http { access_log off; server { listen 80; root $W/www; } }
C
for k in server road client; do wg genkey | tee $k.key | wg pubkey >$k.pub; done
export WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error
tunnel() { # tunnel HOST DEV ADDR PORT KEY PEER ALLOWED [ENDPOINT]
    bg "$1" wireguard-go -f "$2"
    for _ in {1..50}; do ip -n "$1" link show "$2" >log/link 2>&1 && break || sleep 0.1; done
    on "$1" wg set "$2" ${4:+listen-port $4} private-key "$5.key" peer "$(cat "$6.pub")" allowed-ips "$7" ${8:+endpoint $8}
    ip -n "$1" addr add "$3" dev "$2"
    ip -n "$1" link set "$2" mtu 1380 up
}
tunnel server wgs0 10.66.0.1/24 51820 server client 10.66.0.2/32
tunnel server wgs1 10.67.0.1/24 443 server road 10.67.0.2/32
bg server nginx -c $W/nginx.conf
wait_port server tcp 80
wait_port server udp 51820 443

capture pcap
tunnel client wgc 10.66.0.2/24 '' client server 10.66.0.1/32 '[2001:db8:2::18]:51820'
tunnel road wgr 10.67.0.2/24 '' road server 10.67.0.1/32 198.51.100.18:443
on client curl -fsS --retry 3 -o a http://10.66.0.1/
on road curl -fsS --retry 3 -o b http://10.67.0.1/
cmp a www/index.html
cmp b www/index.html

truth 17 2001:db8:1::2 '*' 2001:db8:2::18 51820 WireGuard -
truth 17 10.1.0.3 '*' 198.51.100.18 443 WireGuard -
expect 2 'wg.type == 2' -d udp.port==443,wg
finish
