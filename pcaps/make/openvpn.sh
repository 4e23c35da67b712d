#!/bin/bash
# OpenVPN: a server on UDP 1194 and one on TCP 11940 (certificates, tls-crypt on the second); a client of each pings and fetches
# through its tunnel.
PACKAGES="openvpn nginx-light curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.94/24
make_cert server.example.com client.example.com
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=server" -keyout s.key -out s.csr 2>/dev/null
openssl x509 -req -in s.csr -CA tls/ca.crt -CAkey tls/ca.key -days 3650 -out s.crt \
    -extfile <(printf 'extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n') 2>/dev/null
openvpn --genkey secret tls.key
mkdir www && seq 600 >www/index.html
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http { access_log off; server { listen 80; root $W/www; } }
C
common="--verb 3 --dh none --data-ciphers AES-256-GCM --keepalive 2 20 --ca $W/tls/ca.crt"
vpn_server() { # vpn_server DEV NET ARG...
    bg server openvpn --dev "$1" --topology subnet --server "$2" 255.255.255.0 $common --cert s.crt --key s.key "${@:3}"
}
vpn_client() {
    bg client openvpn --dev "$1" --client --nobind --verb 3 --data-ciphers AES-256-GCM --ca tls/ca.crt --remote-cert-tls server \
        --cert tls/client.example.com.crt --key tls/client.example.com.key "${@:2}"
}
vpn_server tun0 10.8.0.0 --proto udp --port 1194
vpn_server tun1 10.9.0.0 --proto tcp-server --port 11940 --tls-crypt tls.key
bg server nginx -c $W/nginx.conf
wait_port server udp 1194
wait_port server tcp 11940 80

capture pcap
vpn_client tun0 --proto udp --remote 198.51.100.94 1194
vpn_client tun1 --proto tcp-client --remote 198.51.100.94 11940 --tls-crypt tls.key
for _ in {1..200}; do [ "$(grep -sc 'Initialization Sequence Completed' log/client.openvpn)" = 2 ] && break || sleep 0.1; done
on client curl -fsS -o a http://10.8.0.1/
on client curl -fsS -o b http://10.9.0.1/
cmp a www/index.html
cmp b www/index.html
sleep 3
kill -TERM $(pgrep -f 'openvpn --dev tun. --client')
sleep 1

truth 17 10.1.0.2 '*' 198.51.100.94 1194 OpenVPN -
truth 6 10.1.0.2 '*' 198.51.100.94 11940 OpenVPN -
expect 10 'openvpn' -d tcp.port==11940,openvpn
finish
