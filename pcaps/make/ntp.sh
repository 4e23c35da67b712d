#!/bin/bash
# NTP: chronyd serves on 123 (IPv4, IPv6) and 11123, and NTS key exchange on 4460; chronyd -Q and ntpdig ask.
PACKAGES="chrony ntpsec-ntpdig"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.123/24 2001:db8:2::123/64
host odd 203.0.113.123/24
name 198.51.100.123 time.example.com
make_cert time.example.com
serve() { # serve HOST LINE...
    printf '%s\n' 'local stratum 8' 'allow' 'cmdport 0' 'bindcmdaddress /' "pidfile $W/$1.pid" "ntsdumpdir $W" "${@:2}" >chrony.$1
    bg "$1" chronyd -x -d -U -u root -f $W/chrony.$1
}
serve server "ntsservercert $W/tls/time.example.com.crt" "ntsserverkey $W/tls/time.example.com.key"
serve odd 'port 11123'
wait_port server udp 123
wait_port server tcp 4460
wait_port odd udp 11123

capture pcap
ask() { answer 'System clock wrong by' client chronyd -Q -t 15 -U -u root "pidfile $W/client.pid" 'cmdport 0' "ntsdumpdir $W" \
    "ntstrustedcerts $W/tls/ca.crt" "$@"; }
ask 'server 198.51.100.123 iburst'
ask 'server 2001:db8:2::123 iburst'
ask 'server 203.0.113.123 port 11123 iburst maxsamples 2'
ask 'server time.example.com nts iburst'
answer '198.51.100.123' client ntpdig -4 198.51.100.123

truth 17 10.1.0.2 '*' 198.51.100.123 123 NTP -
truth 17 2001:db8:1::2 '*' 2001:db8:2::123 123 NTP -
truth 17 10.1.0.2 '*' 203.0.113.123 11123 NTP -
truth 6 10.1.0.2 '*' 198.51.100.123 4460 TLS NTS-KE
expect 8 'ntp.flags.mode == 4'
finish
