#!/bin/bash
# QUIC v1: ngtcp2's gtlsserver on 443 and 4434 (HTTP/3, GnuTLS, IPv4 and IPv6) and caddy's HTTP/3 on 8443; gtlsclient fetches,
# with SNI; one connection goes through Retry (server on 4435), one posts data. caddy is also fetched over TCP (TLS, h2).
PACKAGES="ngtcp2-client ngtcp2-server caddy curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.40/24 2001:db8:2::40/64
host caddy 203.0.113.40/24
name 198.51.100.40 www.example.com retry.example.com
name 2001:db8:2::40 six.example.org
name 203.0.113.40 caddy.example.net
make_cert www.example.com caddy.example.net
seq 1 2000 >www.txt
make_file www/photo.jpg 20000
cp www.txt www/index.html
cat >Caddyfile <<C
{
  admin off
  auto_https off
}
https://caddy.example.net:8443 {
  tls $W/tls/caddy.example.net.crt $W/tls/caddy.example.net.key
  root * $W/www
  file_server
}
C
serve() { bg server gtlsserver -q -d $W/www "$@" $W/tls/www.example.com.key $W/tls/www.example.com.crt; }
serve '*' 443
serve '*' 4434
serve -V 198.51.100.40 4435
bg caddy caddy run --config $W/Caddyfile --adapter caddyfile
wait_port server udp 443 4434 4435
wait_port caddy udp 8443

capture pcap
mkdir got
quic() { # quic NAME PORT PATH...
    local urls=() p
    for p in "${@:3}"; do urls+=("https://$1:$2/$p"); done
    on client gtlsclient -q --exit-on-all-streams-close --download=$W/got "$1" "$2" "${urls[@]}"
}
quic www.example.com 443 index.html photo.jpg
cmp got/photo.jpg www/photo.jpg
quic six.example.org 4434 index.html
quic retry.example.com 4435 index.html
quic caddy.example.net 8443 photo.jpg
on client gtlsclient -q --exit-on-all-streams-close -d $W/www.txt -m POST www.example.com 443 https://www.example.com:443/index.html
on client curl -fsS --cacert tls/ca.crt -o a https://caddy.example.net:8443/index.html

truth 17 10.1.0.2 '*' 198.51.100.40 443 QUIC -
truth 17 10.1.0.2 '*' 198.51.100.40 4435 QUIC -
truth 17 2001:db8:1::2 '*' 2001:db8:2::40 4434 QUIC -
truth 17 10.1.0.2 '*' 203.0.113.40 8443 QUIC -
truth 6 10.1.0.2 '*' 203.0.113.40 8443 TLS -
expect 5 'quic and tls.handshake.type == 1 and tls.handshake.extensions_server_name'
expect 5 'quic and tls.handshake.type == 2'
expect 1 'quic.long.packet_type == 3'
finish
