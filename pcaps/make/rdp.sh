#!/bin/bash
# RDP: xrdp on 3389 and 13389; xfreerdp connects (RDP security, and TLS after the X.224 negotiation) and sees the log-in screen.
PACKAGES="xrdp freerdp2-x11 tigervnc-standalone-server"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.12/24
make_cert rdp.example.com
mkdir -p /run/xrdp /tmp/.X11-unix
sed -i -e "s|^certificate=.*|certificate=$W/tls/rdp.example.com.crt|" -e "s|^key_file=.*|key_file=$W/tls/rdp.example.com.key|" \
    -e 's/^port=3389/port=tcp:\/\/:3389 tcp:\/\/:13389/' /etc/xrdp/xrdp.ini
bg server xrdp --nodaemon
bg client Xtigervnc :9 -SecurityTypes None -rfbport 5999 -geometry 640x480
wait_port server tcp 3389 13389
for _ in {1..50}; do [ -S /tmp/.X11-unix/X9 ] && break || sleep 0.1; done

capture pcap
look() { # look PORT SECURITY
    timeout 6 ip netns exec client env DISPLAY=:9 xfreerdp /v:198.51.100.12:$1 /sec:$2 /cert:ignore /u:alice /p:wrong /size:320x240 /bpp:8 \
        >>log/xfreerdp 2>&1 </dev/null || true
}
look 3389 rdp
look 13389 tls

truth 6 10.1.0.2 '*' 198.51.100.12 3389 RDP -
truth 6 10.1.0.2 '*' 198.51.100.12 13389 RDP -
expect 1 'rdp' -d tcp.port==13389,tpkt
expect 1 'tcp.srcport == 13389 and tcp.payload[0:2] == 16:03'
finish
