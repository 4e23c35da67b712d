#!/bin/bash
# HTTP/1.1: nginx serves three hosts on ports 80 and 8231, IPv4 and IPv6; curl fetches with keep-alive, posts forms,
# follows a redirect, and meets a 404; one HTTP/1.0 request.
PACKAGES="nginx-light curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.10/24 2001:db8:2::10/64
name 198.51.100.10 www.example.com shop.example.net
name 2001:db8:2::10 www.example.org

make_file www/photo.jpg 30000
for i in 1 2 3; do echo "<html><title>page $i</title><p>$(seq -s ' ' $((i * 40)))</html>" >www/$i.html; done
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http {
  types { text/html html; image/jpeg jpg; }
  access_log $W/log/access; client_body_temp_path $W/body;
  server {
    listen 80; listen [::]:80; server_name www.example.com www.example.org; root $W/www;
    location /old { return 301 /2.html; }
  }
  server {
    listen 80; listen 8231; server_name shop.example.net; root $W/www;
    location /cart { default_type application/json; return 200 '{"items":3}'; }
  }
}
C
bg server nginx -c $W/nginx.conf
wait_port server tcp 80 8231

capture pcap
on client curl -fsS -o a http://www.example.com/1.html -o b http://www.example.com/2.html -o c http://www.example.com/photo.jpg
cmp c www/photo.jpg
answer items client curl -fsS -d 'item=17&count=3' http://shop.example.net/cart
answer items client curl -fsS -d 'item=18&count=1' http://shop.example.net:8231/cart -H 'Cookie: session=1'
on client curl -fsSL -A 'Mozilla/5.0 (X11; Linux x86_64)' -o d http://www.example.com/old
on client curl -sS -o e http://www.example.com/absent
on client curl -fsS -6 -o f 'http://www.example.org/3.html?a=1&b=2'
on client curl -fsS -0 -o g http://www.example.com/1.html
on client curl -fsS -I -o h http://shop.example.net:8231/2.html

truth 6 10.1.0.2 '*' 198.51.100.10 80 HTTP -
truth 6 10.1.0.2 '*' 198.51.100.10 8231 HTTP -
truth 6 2001:db8:1::2 '*' 2001:db8:2::10 80 HTTP -
expect 9 'http.response.code == 200' -d tcp.port==8231,http
expect 1 'http.response.code == 301'
expect 1 'http.response.code == 404'
expect 2 'http.request.method == "POST"' -d tcp.port==8231,http
finish
