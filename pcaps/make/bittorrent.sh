#!/bin/bash
# BitTorrent: opentracker (HTTP and UDP on 6969); aria2 seeds a file on port 6881 and another aria2 fetches it over TCP, both also
# find each other by DHT; libtorrent seeds another on 6883 and a second libtorrent fetches it over uTP only.
PACKAGES="opentracker aria2 python3-libtorrent mktorrent"
. "$(dirname "$0")/lib.sh"

host tracker 203.0.113.69/24
host seeder 198.51.100.81/24
host peer 10.1.0.2/24
host utpseeder 198.51.100.82/24
host utppeer 10.1.0.3/24
make_file seed/holiday.avi 100000
make_file seed/concert.avi 80000
mktorrent -l 15 -a http://203.0.113.69:6969/announce -o holiday.torrent seed/holiday.avi >/dev/null
mktorrent -l 15 -a udp://203.0.113.69:6969/announce -o concert.torrent seed/concert.avi >/dev/null
mkdir tracker got utpgot
aria2c -S holiday.torrent concert.torrent | sed -n 's/^Info Hash: *//p' >tracker/whitelist
cat >opentracker.conf <<C
listen.tcp_udp 203.0.113.69:6969
tracker.rootdir $W/tracker
tracker.user nobody
access.whitelist whitelist
C
bg tracker opentracker -f $W/opentracker.conf
wait_port tracker tcp 6969

capture pcapng
aria() { # aria HOST PORT DIR ARG...
    bg "$1" aria2c --no-conf -q -d "$3" --listen-port="$2" --dht-listen-port="$2" --enable-dht=true --bt-enable-lpd=false \
        --enable-dht6=false --dht-file-path=$W/$1.dht --file-allocation=none --summary-interval=0 "${@:4}" $W/holiday.torrent
}
cat >utp.py <<P
import sys, time, libtorrent
session = libtorrent.session({"listen_interfaces": sys.argv[1], "enable_outgoing_tcp": False, "enable_incoming_tcp": False,
    "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False, "enable_dht": False, "dht_bootstrap_nodes": ""})
session.add_torrent({"ti": libtorrent.torrent_info("$W/concert.torrent"), "save_path": sys.argv[2]})
time.sleep(60)
P
aria seeder 6881 $W/seed -V --seed-ratio=0.0
wait_port seeder tcp 6881
bg utpseeder python3 utp.py 198.51.100.82:6883 $W/seed
wait_port utpseeder udp 6883
sleep 2
aria peer 6889 $W/got --seed-time=1
sleep 2
bg utppeer python3 utp.py 10.1.0.3:51413 $W/utpgot
for _ in {1..200}; do
    cmp -s seed/holiday.avi got/holiday.avi && cmp -s seed/concert.avi utpgot/concert.avi && break
    sleep 0.1
done
cmp seed/holiday.avi got/holiday.avi
cmp seed/concert.avi utpgot/concert.avi
sleep 2

peers="10.1.0.2:6889 10.1.0.3:51413 198.51.100.81:6881 198.51.100.82:6883"
for a in $peers; do
    truth 6 ${a%:*} '*' 203.0.113.69 6969 HTTP BitTorrent maybe
    truth 17 ${a%:*} '*' 203.0.113.69 6969 BitTorrent - maybe
    for b in $peers; do
        truth 6 ${a%:*} '*' ${b%:*} ${b#*:} BitTorrent - maybe
        truth 17 ${a%:*} '*' ${b%:*} ${b#*:} BitTorrent - maybe oneway
    done
done
expect 2 'bittorrent.msg.type == 7'
expect 20 'udp.port == 51413 and udp.port == 6883 and udp.length > 1000'
expect 2 'http.response.code == 200' -d tcp.port==6969,http
finish
