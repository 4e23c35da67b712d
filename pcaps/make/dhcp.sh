#!/bin/bash
# DHCP and DHCPv6: dnsmasq leases addresses; udhcpc asks, renews (unicast), releases; dhclient -6 asks by DHCPv6.
PACKAGES="dnsmasq-base udhcpc isc-dhcp-client"
. "$(dirname "$0")/lib.sh"

host router 10.1.0.1/24 2001:db8:1::1/64
host client
host client6
cat >dnsmasq.conf <<C
port=0
interface=eth0
bind-dynamic
dhcp-range=10.1.0.50,10.1.0.60,2m
dhcp-option=option:dns-server,198.51.100.53
dhcp-range=2001:db8:1::50,2001:db8:1::60,64,2m
domain=example.net
dhcp-leasefile=$W/leases
user=root
C
bg router dnsmasq -k -C $W/dnsmasq.conf --log-facility=-
wait_port router udp 67 547
cat >udhcpc.script <<'S'
#!/bin/sh
case $1 in bound) ip addr add "$ip/24" dev "$interface" ;; esac
S
chmod +x udhcpc.script
ip -n client route flush dev eth0

capture pcap
bg client busybox udhcpc -f -i eth0 -s $W/udhcpc.script -x hostname:sensor -R
udhcpc=$!
for _ in {1..100}; do [ -n "$(ip -n client -4 addr show dev eth0 scope global)" ] && break || sleep 0.1; done
sleep 2
kill -USR1 "$(pgrep -f 'udhcpc -f')"
sleep 2
kill -TERM "$(pgrep -f 'udhcpc -f')"
wait $udhcpc || true
on client6 dhclient -6 -1 -lf $W/leases6 -pf $W/dhclient.pid -sf /bin/true eth0

finish_truth() {
    stop_capture
    local ip6
    lease=$(tshark -r "$CAPTURE" -Y 'dhcp.option.dhcp == 5' -T fields -e dhcp.ip.your 2>/dev/null | head -1)
    ip6=$(ip -n client6 -6 -o addr show dev eth0 scope link | awk '{sub("/.*", "", $4); print $4}')
    truth 17 0.0.0.0 68 255.255.255.255 67 DHCP - oneway
    truth 17 10.1.0.1 67 "$lease" 68 DHCP -
    truth 17 "$ip6" 546 ff02::1:2 547 DHCPv6 - oneway
    truth 17 "$(ip -n router -6 -o addr show dev eth0 scope link | awk '{sub("/.*", "", $4); print $4}')" 547 "$ip6" 546 DHCPv6 - oneway
}
finish_truth
expect 2 'dhcp.option.dhcp == 5'
expect 1 'dhcpv6.msgtype == 7'
finish
