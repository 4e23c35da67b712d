#!/bin/bash
# TLS 1.3: nginx on 443 (two names by SNI) and 40443, openssl s_server on 4433 that asks for a second ClientHello
# (HelloRetryRequest); curl and gnutls-cli; IPv4 and IPv6.
PACKAGES="nginx-light openssl curl gnutls-bin"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.3/24 2001:db8:1::3/64
host server 198.51.100.31/24 2001:db8:2::31/64
name 198.51.100.31 www.example.com shop.example.net retry.example.net
name 2001:db8:2::31 six.example.org
make_cert www.example.com shop.example.net six.example.org retry.example.net
make_file www/a.bin 12000

cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http {
  access_log $W/log/access; root $W/www; ssl_protocols TLSv1.3;
  server { listen 443 ssl; server_name www.example.com;
    ssl_certificate $W/tls/www.example.com.crt; ssl_certificate_key $W/tls/www.example.com.key; }
  server { listen 443 ssl; server_name shop.example.net;
    ssl_certificate $W/tls/shop.example.net.crt; ssl_certificate_key $W/tls/shop.example.net.key; }
  server { listen 40443 ssl; listen [::]:40443 ssl; server_name six.example.org;
    ssl_certificate $W/tls/six.example.org.crt; ssl_certificate_key $W/tls/six.example.org.key; }
}
C
bg server nginx -c $W/nginx.conf
bg server openssl s_server -accept 4433 -www -tls1_3 -groups P-384 -cert tls/retry.example.net.crt -key tls/retry.example.net.key
wait_port server tcp 443 40443 4433

capture pcapng
fetch() { on client curl -fsS --http1.1 --cacert $W/tls/ca.crt "$@"; }
fetch -o a https://www.example.com/a.bin
cmp a www/a.bin
fetch -o b https://shop.example.net/a.bin
fetch -o c https://six.example.org:40443/a.bin
fetch -o d https://retry.example.net:4433/
(printf 'GET /a.bin HTTP/1.0\r\nHost: www.example.com\r\n\r\n'; sleep 1) | timeout 20 ip netns exec client \
    gnutls-cli --x509cafile tls/ca.crt --sni-hostname www.example.com www.example.com >gnutls.out 2>&1
grep -q '200 OK' gnutls.out

truth 6 10.1.0.3 '*' 198.51.100.31 443 TLS -
truth 6 10.1.0.3 '*' 198.51.100.31 4433 TLS -
truth 6 2001:db8:1::3 '*' 2001:db8:2::31 40443 TLS -
expect 5 'tls.handshake.type == 2 and tls.handshake.extensions.supported_version == 0x0304' \
    -d tcp.port==4433,tls -d tcp.port==40443,tls
expect 2 'tls.handshake.type == 1 and tcp.port == 4433' -d tcp.port==4433,tls
finish
