#!/bin/bash
# Zabbix: an agent on 10050 and one on 20050 answer; the questions are asked through socat, framed as the server frames them.
PACKAGES="zabbix-agent socat"
. "$(dirname "$0")/lib.sh"

host server 10.1.0.2/24
host agent 198.51.100.16/24
for port in 10050 20050; do
    printf '%s\n' Server=10.1.0.2 ListenPort=$port LogType=console "PidFile=$W/agent.$port" StartAgents=1 AllowRoot=1 >agent.$port.conf
    bg agent zabbix_agentd -f -c $W/agent.$port.conf
done
wait_port agent tcp 10050 20050

capture pcap
for key in agent.ping agent.version system.uptime; do
    printf "ZBXD\\1\\x$(printf %02x ${#key})\\0\\0\\0\\0\\0\\0\\0$key" >request
    for port in 10050 20050; do answer ZBXD server bash -c "socat -t 2 - TCP:198.51.100.16:$port <request"; done
done

truth 6 10.1.0.2 '*' 198.51.100.16 10050 Zabbix -
truth 6 10.1.0.2 '*' 198.51.100.16 20050 Zabbix -
expect 4 'tcp.payload contains "ZBXD" and tcp.srcport in {10050, 20050}'
finish
