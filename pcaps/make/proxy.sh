#!/bin/bash
# Proxies: microsocks (SOCKS5) on 1080 and 9050, tinyproxy (HTTP, CONNECT) on 3128; curl fetches through them from nginx over HTTP
# and TLS. A flow to a proxy begins with the proxy's protocol and then carries the other.
PACKAGES="microsocks tinyproxy nginx-light curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host proxy 198.51.100.80/24
host server 203.0.113.80/24
name 203.0.113.80 www.example.com
make_cert www.example.com
mkdir www && seq 300 >www/index.html
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http { access_log off; root $W/www;
  server { listen 80; }
  server { listen 443 ssl; ssl_certificate $W/tls/www.example.com.crt; ssl_certificate_key $W/tls/www.example.com.key; } }
C
printf '%s\n' 'User nobody' 'Port 3128' 'Timeout 20' 'LogLevel Error' 'MaxClients 10' "PidFile \"$W/tinyproxy.pid\"" >tinyproxy.conf
bg server nginx -c $W/nginx.conf
bg proxy microsocks -i 198.51.100.80 -p 1080
bg proxy microsocks -i 198.51.100.80 -p 9050 -u alice -P secret
bg proxy tinyproxy -d -c $W/tinyproxy.conf
wait_port server tcp 80 443
wait_port proxy tcp 1080 9050 3128

capture pcap
fetch() { on client curl -fsS --cacert $W/tls/ca.crt -o got "$@" && cmp got www/index.html; }
fetch --proxy socks5h://198.51.100.80:1080 http://www.example.com/
fetch --proxy socks5h://198.51.100.80:1080 https://www.example.com/
fetch --proxy socks5h://alice:secret@198.51.100.80:9050 http://www.example.com/
fetch --proxy http://198.51.100.80:3128 http://www.example.com/
fetch --proxy http://198.51.100.80:3128 https://www.example.com/

truth 6 10.1.0.2 '*' 198.51.100.80 1080 SOCKS -
truth 6 10.1.0.2 '*' 198.51.100.80 9050 SOCKS -
truth 6 10.1.0.2 '*' 198.51.100.80 3128 HTTP -
truth 6 198.51.100.80 '*' 203.0.113.80 80 HTTP -
truth 6 198.51.100.80 '*' 203.0.113.80 443 TLS -
expect 3 'socks.results == 0' -d tcp.port==9050,socks
expect 1 'http.request.method == "CONNECT"'
finish
