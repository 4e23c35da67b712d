#!/bin/bash
# SNMP: snmpd on 161 and 10161, snmptrapd on 162; snmpget, snmpbulkwalk, snmpset refused, versions 1, 2c and 3 (authenticated, and
# encrypted); a trap and an inform.
PACKAGES="snmpd snmp snmptrapd"
. "$(dirname "$0")/lib.sh"

host manager 10.1.0.2/24 2001:db8:1::2/64
host agent 198.51.100.61/24 2001:db8:2::61/64
cat >snmpd.conf <<C
agentAddress udp:161,udp:10161,udp6:161
rocommunity public
rocommunity6 public
rouser alice authpriv
createUser alice SHA secretpassword AES secretprivacy
sysLocation Hall
sysContact ops@example.com
C
printf 'authCommunity log public\ndisableAuthorization yes\n' >snmptrapd.conf
bg agent snmpd -f -Lo -C -c $W/snmpd.conf -p $W/snmpd.pid
bg manager snmptrapd -f -Lo -C -c $W/snmptrapd.conf -p $W/trapd.pid
wait_port agent udp 161 10161
wait_port manager udp 162

capture pcap
answer STRING manager snmpget -v1 -c public 198.51.100.61 .1.3.6.1.2.1.1.1.0
answer Hall manager snmpbulkwalk -v2c -c public 198.51.100.61 .1.3.6.1.2.1.1
answer Hall manager snmpwalk -v2c -c public 198.51.100.61:10161 .1.3.6.1.2.1.1.6
answer Hall manager snmpget -v2c -c public 'udp6:[2001:db8:2::61]:161' .1.3.6.1.2.1.1.6.0
answer Hall manager snmpget -v3 -u alice -l authPriv -a SHA -A secretpassword -x AES -X secretprivacy 198.51.100.61 .1.3.6.1.2.1.1.6.0
answer noAccess manager snmpset -v2c -c public 198.51.100.61 .1.3.6.1.2.1.1.6.0 s Cellar
on agent snmptrap -v2c -c public 10.1.0.2 '' .1.3.6.1.6.3.1.1.5.3 .1.3.6.1.2.1.2.2.1.1.2 i 2
on agent snmpinform -v2c -c public 10.1.0.2 '' .1.3.6.1.6.3.1.1.5.4 .1.3.6.1.2.1.2.2.1.1.2 i 2

truth 17 10.1.0.2 '*' 198.51.100.61 161 SNMP -
truth 17 10.1.0.2 '*' 198.51.100.61 10161 SNMP -
truth 17 2001:db8:1::2 '*' 2001:db8:2::61 161 SNMP -
truth 17 198.51.100.61 '*' 10.1.0.2 162 SNMP - oneway
expect 8 'snmp.data == 2 or snmp.msgVersion == 3' -d udp.port==10161,snmp
finish
