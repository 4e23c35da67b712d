#!/bin/bash
# HTTP/2: nginx over TLS (ALPN h2, port 443) and in clear text with prior knowledge (port 8080, also nghttpd on 9180, IPv6);
# curl and nghttp fetch with several streams a connection.
PACKAGES="nginx-light curl nghttp2-client nghttp2-server"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.20/24 2001:db8:2::20/64
name 198.51.100.20 www.example.com h2c.example.net
name 2001:db8:2::20 h2.example.org
make_cert www.example.com

make_file www/style.css 4000
make_file www/photo.jpg 20000
seq 1 500 >www/index.html
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http {
  access_log $W/log/access; root $W/www;
  ssl_certificate $W/tls/www.example.com.crt; ssl_certificate_key $W/tls/www.example.com.key;
  server { listen 443 ssl http2; server_name www.example.com; }
  server { listen 8080 http2; server_name h2c.example.net; }
}
C
bg server nginx -c $W/nginx.conf
bg server nghttpd --no-tls -d $W/www -a 2001:db8:2::20 9180
wait_port server tcp 443 8080 9180

capture nano
fetch() { on client curl --no-progress-meter -f --cacert $W/tls/ca.crt "$@"; }
fetch --http2 -Z -o a https://www.example.com/ -o b https://www.example.com/style.css -o c https://www.example.com/photo.jpg
cmp c www/photo.jpg
fetch --http2-prior-knowledge -o d http://h2c.example.net:8080/
fetch --http2-prior-knowledge -o e http://h2c.example.net:8080/style.css
on client nghttp -v http://h2.example.org:9180/index.html http://h2.example.org:9180/photo.jpg >nghttp.out
grep -q ':status: 200' nghttp.out

truth 6 10.1.0.2 '*' 198.51.100.20 443 TLS -
truth 6 10.1.0.2 '*' 198.51.100.20 8080 HTTP/2 -
truth 6 2001:db8:1::2 '*' 2001:db8:2::20 9180 HTTP/2 -
expect 3 'http2.headers.status == 200' -d tcp.port==8080,http2 -d tcp.port==9180,http2
expect 1 'tls.handshake.extensions_alpn_str == "h2" and tls.handshake.type == 1'
finish
