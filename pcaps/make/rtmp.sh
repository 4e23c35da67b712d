#!/bin/bash
# RTMP: nginx with the RTMP module on 1935 and 11935; ffmpeg publishes a small stream, rtmpdump plays it.
PACKAGES="nginx-light libnginx-mod-rtmp ffmpeg rtmpdump"
. "$(dirname "$0")/lib.sh"

host studio 10.1.0.2/24
host viewer 10.1.0.3/24
host server 198.51.100.15/24
cat >nginx.conf <<C
load_module modules/ngx_rtmp_module.so;
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
rtmp { server { listen 1935; listen 11935; application live { live on; } } }
C
bg server nginx -c $W/nginx.conf
wait_port server tcp 1935 11935

capture pcap
bg studio ffmpeg -nostdin -re -f lavfi -i testsrc=size=96x64:rate=10 -t 6 -c:v flv1 -b:v 60k -f flv rtmp://198.51.100.15/live/hall
sleep 2
on viewer rtmpdump -q -v -B 2 -r rtmp://198.51.100.15:11935/live/hall -o got.flv || true
[ "$(head -c 3 got.flv)" = FLV ]
sleep 4

truth 6 10.1.0.2 '*' 198.51.100.15 1935 RTMP -
truth 6 10.1.0.3 '*' 198.51.100.15 11935 RTMP -
expect 4 'rtmpt' -d tcp.port==11935,rtmpt
finish
