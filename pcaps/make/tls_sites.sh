#!/bin/bash
# TLS and QUIC with the names of well-known sites: nginx and gtlsserver stand in for them, so what is known is the name the client
# asked for (SNI), not the site. curl and gtlsclient fetch.
PACKAGES="nginx-light curl ngtcp2-client ngtcp2-server"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
make_file www/index.html 3000
SITES="YouTube=www.youtube.com Netflix=www.netflix.com Facebook=www.facebook.com Wikipedia=en.wikipedia.org Google=www.google.com
GitHub=github.com Spotify=open.spotify.com WhatsApp=web.whatsapp.com Instagram=www.instagram.com TikTok=www.tiktok.com"
n=0
addresses=()
servers=""
for site in $SITES; do
    n=$((n + 1))
    addresses+=("203.0.113.$n/24")
    name 203.0.113.$n "${site#*=}"
    make_cert "${site#*=}"
    servers+="server { listen 203.0.113.$n:443 ssl http2; ssl_certificate $W/tls/${site#*=}.crt;
        ssl_certificate_key $W/tls/${site#*=}.key; }"
done
host server "${addresses[@]}"
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http { access_log off; root $W/www; $servers }
C
bg server nginx -c $W/nginx.conf
wait_port server tcp 443
bg server gtlsserver -q -d $W/www 203.0.113.1 443 $W/tls/www.youtube.com.key $W/tls/www.youtube.com.crt
wait_port server udp 443

capture pcap
n=0
for site in $SITES; do
    n=$((n + 1))
    on client curl -fsS --cacert tls/ca.crt -o got "https://${site#*=}/"
    cmp got www/index.html
    truth 6 10.1.0.2 '*' 203.0.113.$n 443 TLS "${site%%=*}"
done
on client gtlsclient -q --exit-on-all-streams-close www.youtube.com 443 https://www.youtube.com/index.html
truth 17 10.1.0.2 '*' 203.0.113.1 443 QUIC YouTube
expect 11 'tls.handshake.extensions_server_name'
finish
