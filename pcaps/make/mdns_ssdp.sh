#!/bin/bash
# Discovery in a home: avahi daemons announce and browse by mDNS; miniupnpd answers SSDP, serves its description, and tells its
# outer address by UPnP and by NAT-PMP.
PACKAGES="avahi-daemon avahi-utils dbus-daemon miniupnpd-nftables natpmpc miniupnpc"
. "$(dirname "$0")/lib.sh"

host printer 10.1.0.7/24
host laptop 10.1.0.2/24
host router 10.1.0.1/24
ip -n router link add wan0 type veth peer name wan1
ip -n router addr add 198.51.100.200/24 dev wan0
ip -n router link set wan0 up
ip -n router link set wan1 up
avahi() { # avahi HOST: needs a message bus of its own
    mkdir -p /run/$1 /run/dbus
    cat >bus.$1 <<C
<busconfig><listen>unix:path=/run/$1/bus</listen><auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy></busconfig>
C
    sed -e "s/^#host-name=.*/host-name=$1/" -e 's/^use-ipv6=.*/use-ipv6=no/' /etc/avahi/avahi-daemon.conf >avahi.$1
    bg "$1" dbus-daemon --nofork --config-file=$W/bus.$1
    for _ in {1..50}; do [ -S /run/$1/bus ] && break || sleep 0.1; done
    bg "$1" env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/$1/bus unshare --mount bash -c "mkdir -p /run/avahi-daemon &&
        mount -t tmpfs tmpfs /run/avahi-daemon && exec avahi-daemon --no-drop-root --no-rlimits -f $W/avahi.$1"
}
cat >miniupnpd.conf <<C
ext_ifname=wan0
ext_ip=9.0.0.7
listening_ip=eth0
port=49000
enable_natpmp=yes
enable_upnp=yes
secure_mode=no
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 10.1.0.0/24 1024-65535
C
capture pcap
avahi printer
avahi laptop
bg router miniupnpd -d -f $W/miniupnpd.conf -P $W/miniupnpd.pid
wait_port router udp 1900
sleep 2
bg printer env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/printer/bus avahi-publish-service 'Hall printer' _ipp._tcp 631 'rp=ipp/print'
sleep 2
answer 'rp=ipp/print' laptop env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/laptop/bus avahi-browse -rtp _ipp._tcp
answer 10.1.0.7 laptop env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/laptop/bus avahi-resolve -n printer.local
answer 'ExternalIPAddress' laptop upnpc -s
answer '9.0.0.7' laptop natpmpc -g 10.1.0.1

for h in 10.1.0.7 10.1.0.2 10.1.0.1; do
    truth 17 $h 5353 224.0.0.251 5353 mDNS - maybe oneway
    truth 17 $h '*' 239.255.255.250 1900 SSDP - maybe oneway
done
truth 17 10.1.0.1 1900 10.1.0.2 '*' SSDP - maybe oneway
truth 17 10.1.0.1 '*' 10.1.0.2 '*' SSDP - maybe oneway
truth 6 10.1.0.2 '*' 10.1.0.1 49000 HTTP -
truth 17 10.1.0.2 '*' 10.1.0.1 5351 NAT-PMP -
truth 17 10.1.0.1 5351 224.0.0.1 5350 NAT-PMP - maybe oneway
expect 2 'mdns'
expect 1 'ssdp or (udp.port == 1900)'
finish
