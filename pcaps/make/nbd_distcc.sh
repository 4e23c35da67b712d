#!/bin/bash
# NBD and distcc: nbdkit serves a disk over NBD on 10809, read by nbdcopy; distccd on 3632 compiles a file.
PACKAGES="nbdkit libnbd-bin distcc gcc"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.24/24
make_file disk 32768
bg server nbdkit -f -p 10809 -i 198.51.100.24 file $W/disk
bg server distccd --daemon --no-detach --allow 10.1.0.2 --user nobody --log-stderr --enable-tcp-insecure
wait_port server tcp 10809 3632
mkdir distcc
printf 'int main(void) { return 0; }\n' >a.c

capture pcap
answer 'export-size: 32768' client nbdinfo nbd://198.51.100.24
on client nbdcopy nbd://198.51.100.24 got
cmp got disk
on client env DISTCC_HOSTS=198.51.100.24 DISTCC_FALLBACK=0 DISTCC_DIR=$W/distcc distcc gcc -c a.c -o a.o
[ -s a.o ]

truth 6 10.1.0.2 '*' 198.51.100.24 10809 NBD -
truth 6 10.1.0.2 '*' 198.51.100.24 3632 distcc -
expect 2 'tcp.payload contains "NBDMAGIC"'
finish
