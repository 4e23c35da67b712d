#!/bin/bash
# DTLS 1.2: openssl s_server on 4433 and gnutls-serv on 15684; openssl s_client and gnutls-cli send lines and are answered.
PACKAGES="openssl gnutls-bin"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.33/24 2001:db8:2::33/64
name 198.51.100.33 dtls.example.com
make_cert dtls.example.com
mkfifo answers
bg server bash -c 'exec openssl s_server -dtls1_2 -accept 4433 -quiet -cert tls/dtls.example.com.crt -key tls/dtls.example.com.key <answers'
exec 9>answers
bg server gnutls-serv -q --udp --echo --port 15684 --x509certfile tls/dtls.example.com.crt --x509keyfile tls/dtls.example.com.key \
    --disable-client-cert
wait_port server udp 4433 15684

capture pcap
(sleep 1; echo hello; sleep 1; echo olleh >&9; seq -s ' ' 100; sleep 1) |
    timeout 10 ip netns exec client openssl s_client -dtls1_2 -connect 198.51.100.33:4433 -servername dtls.example.com >a.out 2>&1 || true
grep -q olleh a.out
(sleep 1; echo hello; sleep 1) |
    timeout 10 ip netns exec client gnutls-cli --udp -p 15684 --x509cafile tls/ca.crt dtls.example.com >b.out 2>&1 || true
grep -q hello b.out

truth 17 10.1.0.2 '*' 198.51.100.33 4433 DTLS -
truth 17 10.1.0.2 '*' 198.51.100.33 15684 DTLS -
expect 2 'dtls.handshake.type == 2' -d udp.port==15684,dtls -d udp.port==4433,dtls
finish
