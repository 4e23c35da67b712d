#!/bin/bash
# rsync: rsync --daemon on 873 and 10873; a listing of modules, a listing of files, a fetch, an upload; IPv4 and IPv6.
PACKAGES="rsync"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.87/24 2001:db8:2::87/64
mkdir -p files in
make_file files/photo.jpg 15000
seq 500 >files/list.txt
printf '%s\n' 'use chroot = no' 'uid = root' 'gid = root' '[files]' "path = $W/files" 'comment = files to fetch' \
    '[in]' "path = $W/in" 'read only = no' >rsyncd.conf
bg server rsync --daemon --no-detach --config=$W/rsyncd.conf --address=0.0.0.0
bg server rsync --daemon --no-detach --config=$W/rsyncd.conf --port=10873 --ipv6
wait_port server tcp 873 10873

capture pcap
answer 'files to fetch' client rsync rsync://198.51.100.87/
answer photo client rsync rsync://198.51.100.87/files/
on client rsync -a rsync://198.51.100.87/files/ copy
cmp copy/photo.jpg files/photo.jpg
on client rsync -az copy/list.txt 'rsync://[2001:db8:2::87]:10873/in/'
cmp copy/list.txt in/list.txt

truth 6 10.1.0.2 '*' 198.51.100.87 873 rsync -
truth 6 2001:db8:1::2 '*' 2001:db8:2::87 10873 rsync -
expect 4 'tcp.srcport == 873 and tcp.payload contains "@RSYNCD:"'
finish
