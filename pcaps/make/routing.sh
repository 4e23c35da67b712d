#!/bin/bash
# Routing between two bird daemons: BGP (179), BFD (3784), OSPF (IP protocol 89), RIP (520) and RIPng (521).
PACKAGES="bird2"
. "$(dirname "$0")/lib.sh"

host left 198.51.100.1/24 2001:db8:2::1/64
host right 198.51.100.2/24 2001:db8:2::2/64
router() { # router HOST ID PEER AS PEER_AS NET BGP_OPTION
    ip -n "$1" route del default
    cat >bird.$1 <<C
router id $2;
protocol device { }
protocol static { ipv4; route $6 unreachable; }
protocol bfd { }
protocol bgp { local $2 as $4; neighbor $3 as $5; bfd on; $7 connect delay time 1; connect retry time 2; ipv4 { import all; export all; }; }
protocol ospf v2 { ipv4 { import all; export none; }; area 0 { interface "eth0" { hello 1; dead 4; }; }; }
protocol rip { ipv4 { import all; export all; }; interface "eth0" { update time 2; }; }
protocol rip ng { ipv6 { import all; export all; }; interface "eth0" { update time 2; }; }
C
    bg "$1" bird -f -c $W/bird.$1 -s $W/$1.ctl
}
router left 198.51.100.1 198.51.100.2 64500 64501 192.0.2.0/25 'passive on;'
capture pcap
router right 198.51.100.2 198.51.100.1 64501 64500 192.0.2.128/25 ''
for _ in {1..150}; do
    birdc -s $W/left.ctl show protocols | grep -q 'bgp1.*Established' && birdc -s $W/left.ctl show ospf neighbors | grep -q Full && break
    sleep 0.1
done
birdc -s $W/left.ctl show protocols | grep -q 'bgp1.*Established'
birdc -s $W/left.ctl show ospf neighbors | grep -q Full
sleep 3
birdc -s $W/right.ctl down >log/down
sleep 1

truth 6 198.51.100.2 '*' 198.51.100.1 179 BGP -
truth 17 198.51.100.1 '*' 198.51.100.2 3784 BFD - oneway
truth 17 198.51.100.2 '*' 198.51.100.1 3784 BFD - oneway
for h in 1 2; do
    truth 89 198.51.100.$h 0 224.0.0.5 0 OSPF -
    truth 17 198.51.100.$h 520 224.0.0.9 520 RIP - oneway maybe
    truth 17 198.51.100.$h 520 198.51.100.$((3 - h)) 520 RIP - oneway maybe
    truth 17 fe80::ff:fe00:$h 521 ff02::9 521 RIPng - oneway maybe
    truth 17 fe80::ff:fe00:$h 521 fe80::ff:fe00:$((3 - h)) 521 RIPng - oneway maybe
done
expect 2 'bgp.type == 2'
expect 4 'ospf.msg == 1'
expect 4 'rip.command == 2'
finish
