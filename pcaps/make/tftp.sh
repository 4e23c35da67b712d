#!/bin/bash
# TFTP: atftpd on 69 and 10069; tftp-hpa reads, writes, and asks for a file that is not there. The server answers from a port of its
# own choosing, so each transfer is a second flow that the server begins.
PACKAGES="atftpd tftp-hpa"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.69/24
mkdir tftp && chmod 777 tftp
make_file tftp/firmware.bin 9000
chmod 644 tftp/firmware.bin
touch tftp/config && chmod 666 tftp/config
seq 300 >config
for port in 69 10069; do
    bg server atftpd --daemon --no-fork --logfile - --user nobody.nogroup --bind-address 198.51.100.69 --port $port $W/tftp
done
wait_port server udp 69 10069

capture pcap
on client tftp -m binary 198.51.100.69 69 -c get firmware.bin
cmp firmware.bin tftp/firmware.bin
on client tftp -m binary 198.51.100.69 69 -c put config
cmp config tftp/config
on client tftp -m ascii 198.51.100.69 10069 -c get config copy
on client tftp 198.51.100.69 69 -c get absent || true

truth 17 10.1.0.2 '*' 198.51.100.69 69 TFTP - oneway
truth 17 10.1.0.2 '*' 198.51.100.69 10069 TFTP - oneway
truth 17 198.51.100.69 '*' 10.1.0.2 '*' TFTP - oneway
expect 18 'tftp.opcode == 3' -d udp.port==10069,tftp
expect 1 'tftp.opcode == 5'
finish
