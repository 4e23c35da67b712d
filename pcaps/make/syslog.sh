#!/bin/bash
# Syslog: rsyslogd on 514 (UDP, TCP) and 10514 (UDP); logger sends RFC 3164 and RFC 5424 messages, over TCP with octet counts too.
PACKAGES="rsyslog bsdutils"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.51/24 2001:db8:2::51/64
cat >rsyslog.conf <<C
module(load="imudp")
module(load="imtcp")
input(type="imudp" port="514")
input(type="imudp" port="10514")
input(type="imtcp" port="514")
*.* action(type="omfile" file="$W/messages")
C
bg server rsyslogd -n -f $W/rsyslog.conf -i $W/rsyslogd.pid
wait_port server udp 514 10514
wait_port server tcp 514

capture pcap
say() { on client logger --tag sensor --priority local0.notice "$@"; }
for i in 1 2 3; do say -d -n 198.51.100.51 --rfc3164 "door $i opened"; done
say -d -n 198.51.100.51 -P 10514 --rfc5424 --msgid door --sd-id zone@32473 --sd-param 'hall="1"' 'door closed'
say -T -n 198.51.100.51 -P 514 --rfc5424 'light on'
say -T -n 198.51.100.51 -P 514 --octet-count --rfc3164 'light off'
say -d -n 2001:db8:2::51 --rfc5424 'light on again'
sleep 0.5
[ "$(grep -cE 'door|light' messages)" = 7 ]

truth 17 10.1.0.2 '*' 198.51.100.51 514 Syslog - oneway
truth 17 10.1.0.2 '*' 198.51.100.51 10514 Syslog - oneway
truth 17 2001:db8:1::2 '*' 2001:db8:2::51 514 Syslog - oneway
truth 6 10.1.0.2 '*' 198.51.100.51 514 Syslog - oneway
expect 7 'syslog' -d udp.port==10514,syslog -d tcp.port==514,syslog
finish
