#!/bin/bash
# VNC: Xtigervnc on 5901 (with password) and 15900 (without); vncsnapshot logs in and fetches the screen; a wrong password.
PACKAGES="tigervnc-standalone-server tigervnc-tools vncsnapshot"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.90/24
echo secret | tigervncpasswd -f >passwd 2>log/passwd
echo wrong1 | tigervncpasswd -f >wrong 2>log/passwd
mkdir -p /tmp/.X11-unix
screen() { bg server Xtigervnc ":$1" -nolisten tcp -nolisten unix -geometry 160x120 -depth 16 "${@:2}"; }
screen 71 -rfbport 5901 -SecurityTypes VncAuth -PasswordFile $W/passwd
screen 72 -rfbport 15900 -SecurityTypes None
wait_port server tcp 5901 15900

capture pcap
on client vncsnapshot -quiet -nocursor -allowblank -encodings hextile -passwd $W/passwd 198.51.100.90:1 a.jpg
on client vncsnapshot -quiet -nocursor -allowblank -encodings raw 198.51.100.90:10000 b.jpg
on client vncsnapshot -quiet -nocursor -allowblank -encodings hextile -passwd $W/wrong 198.51.100.90:1 c.jpg || true
[ -s a.jpg ] && [ -s b.jpg ] && [ ! -e c.jpg ]

truth 6 10.1.0.2 '*' 198.51.100.90 5901 VNC -
truth 6 10.1.0.2 '*' 198.51.100.90 15900 VNC -
expect 3 'vnc.server_proto_ver' -d tcp.port==15900,vnc
finish
