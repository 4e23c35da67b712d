#!/bin/bash
# TLS 1.2: openssl s_server on 443 and 8443 (RSA and ECDSA certificates, client certificate on 8443) and gnutls-serv on 5556;
# openssl s_client and curl with SNI; one session resumed by ticket; one connection without SNI.
PACKAGES="openssl curl gnutls-bin"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.30/24 203.0.113.30/24 2001:db8:2::30/64
name 198.51.100.30 www.example.com mail.example.com
name 203.0.113.30 secure.example.net
name 2001:db8:2::30 six.example.org
make_cert www.example.com client.example.com secure.example.net
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=mail.example.com -addext subjectAltName=DNS:mail.example.com \
    -keyout tls/rsa.key -out tls/rsa.crt 2>/dev/null

bg server openssl s_server -accept 443 -www -tls1_2 -cert tls/www.example.com.crt -key tls/www.example.com.key
bg server openssl s_server -accept 8443 -www -tls1_2 -cert tls/rsa.crt -key tls/rsa.key -Verify 1 -CAfile tls/ca.crt
bg server gnutls-serv -q --http --port 5556 --priority 'NORMAL:-VERS-ALL:+VERS-TLS1.2' \
    --x509certfile tls/secure.example.net.crt --x509keyfile tls/secure.example.net.key --disable-client-cert
wait_port server tcp 443 8443 5556

capture pcap
get() { # get NAME PORT ARG...: a request through openssl s_client; the connection ends when the server closes it
    (printf 'GET / HTTP/1.0\r\nHost: %s\r\n\r\n' "$1"; sleep 1) |
        timeout 20 ip netns exec client openssl s_client -quiet -connect "$1:$2" "${@:3}" 2>/dev/null |
        grep -c 'HTTP/1.0 200' >/dev/null
}
get www.example.com 443 -servername www.example.com -sess_out session
get www.example.com 443 -servername www.example.com -sess_in session
get www.example.com 443 -noservername
get six.example.org 443 -servername six.example.org -cipher ECDHE-ECDSA-AES128-GCM-SHA256
get mail.example.com 8443 -servername mail.example.com -cert tls/client.example.com.crt -key tls/client.example.com.key
on client curl -fsS --cacert tls/ca.crt -o a https://www.example.com/
on client curl -fsS --cacert tls/ca.crt --tls-max 1.2 -o b https://secure.example.net:5556/

truth 6 10.1.0.2 '*' 198.51.100.30 443 TLS -
truth 6 10.1.0.2 '*' 198.51.100.30 8443 TLS -
truth 6 10.1.0.2 '*' 203.0.113.30 5556 TLS -
truth 6 2001:db8:1::2 '*' 2001:db8:2::30 443 TLS -
expect 7 'tls.handshake.type == 2 and tls.handshake.version == 0x0303' -d tcp.port==8443,tls -d tcp.port==5556,tls
expect 6 'tls.handshake.extensions_server_name' -d tcp.port==5556,tls
expect 2 'tls.handshake.type == 11' -d tcp.port==5556,tls
finish
