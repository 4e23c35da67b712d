#!/bin/bash
# X11: Xtigervnc listens for X clients on 6007 and 6042; xdpyinfo and xwininfo ask.
PACKAGES="tigervnc-standalone-server x11-utils"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host display 198.51.100.17/24
mkdir -p /tmp/.X11-unix
for d in 7 42; do bg display Xtigervnc :$d -ac -listen tcp -nolisten unix -rfbport 59$d -SecurityTypes None -geometry 160x120; done
wait_port display tcp 6007 6042

capture pcap
answer 'vendor string' client xdpyinfo -display 198.51.100.17:7
answer 'root window' client xwininfo -display 198.51.100.17:42 -root

truth 6 10.1.0.2 '*' 198.51.100.17 6007 X11 -
truth 6 10.1.0.2 '*' 198.51.100.17 6042 X11 -
expect 2 'x11.success == 1' -d tcp.port==6042,x11 -d tcp.port==6007,x11
finish
