#!/bin/bash
# CoAP: coap-server (libcoap) on 5683 (UDP, TCP), 15683 and, over DTLS, 5684; coap-client gets, observes, puts, and asks for what is
# not there; IPv4 and IPv6.
PACKAGES="libcoap3-bin"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.57/24 2001:db8:2::57/64
bg server coap-server-openssl -A :: -p 5683 -d 10 -k sesame
bg server coap-server-notls -A 198.51.100.57 -p 15683 -d 10
wait_port server udp 5683 5684 15683

capture pcap
coap() { answer "$1" client coap-client-openssl -B 8 "${@:2}"; }
coap 'libcoap' coap://198.51.100.57/
coap 'time' coap://198.51.100.57:15683/.well-known/core
coap . -s 3 coap://198.51.100.57/time
coap '' -m put -e green coap://198.51.100.57/colour
coap 'green' coap://198.51.100.57/colour
coap '4.04' coap://198.51.100.57/absent
coap 'libcoap' 'coap://[2001:db8:2::57]/'
coap 'libcoap' coap+tcp://198.51.100.57/
coap 'libcoap' -u device -k sesame coaps://198.51.100.57/

truth 17 10.1.0.2 '*' 198.51.100.57 5683 CoAP -
truth 17 10.1.0.2 '*' 198.51.100.57 15683 CoAP -
truth 6 10.1.0.2 '*' 198.51.100.57 5683 CoAP -
truth 17 10.1.0.2 '*' 198.51.100.57 5684 DTLS CoAP
truth 17 2001:db8:1::2 '*' 2001:db8:2::57 5683 CoAP -
expect 6 'coap.code == 69' -d udp.port==15683,coap
finish
