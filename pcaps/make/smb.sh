#!/bin/bash
# SMB: smbd on 445 (SMB2 and SMB3, one session encrypted), 139 (over NetBIOS sessions) and 10445; nmbd answers on 137; smbclient
# lists, fetches, stores; one old SMB1 session; nmblookup asks for a name.
PACKAGES="samba samba-common-bin smbclient"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.45/24 2001:db8:2::45/64
mkdir -p share samba/{private,lock,state,cache,pid,ncalrpc} && chmod 777 share && chmod 755 samba/*
mkdir -p /run/samba
make_file share/photo.jpg 15000
seq 300 >share/list.txt
chmod 644 share/*
cat >smb.conf <<C
[global]
workgroup = EXAMPLE
netbios name = FILES
server role = standalone server
map to guest = bad user
private dir = $W/samba/private
lock directory = $W/samba/lock
state directory = $W/samba/state
cache directory = $W/samba/cache
pid directory = $W/samba/pid
ncalrpc dir = $W/samba/ncalrpc
server min protocol = NT1
client min protocol = NT1
smb ports = 445 139 10445
load printers = no
disable spoolss = yes
log file = $W/log/samba
passdb backend = tdbsam
[share]
path = $W/share
guest ok = yes
read only = no
force user = nobody
C
printf 'secret\nsecret\n' | smbpasswd -c $W/smb.conf -s -a nobody >/dev/null
bg server smbd -F --no-process-group -s $W/smb.conf
bg server nmbd -F --no-process-group -s $W/smb.conf
wait_port server tcp 445 139 10445
wait_port server udp 137
sleep 4

capture pcap
smb() { answer "$1" client smbclient -s $W/smb.conf -U nobody%secret "${@:2}"; }
smb photo.jpg //198.51.100.45/share -c 'ls; get photo.jpg got.jpg'
cmp got.jpg share/photo.jpg
smb 'list2' //198.51.100.45/share -m SMB2 -p 10445 -c 'put share/list.txt list2.txt; ls'
smb 'blocks' //2001:db8:2::45/share --client-protection=encrypt -c 'ls'
smb 'blocks' //198.51.100.45/share -p 139 -c 'ls'
smb 'blocks' //198.51.100.45/share --option='client max protocol = NT1' -c 'ls'
answer '198.51.100.45 FILES' client nmblookup -s $W/smb.conf -U 198.51.100.45 FILES
answer 'FILES' client nmblookup -s $W/smb.conf -A 198.51.100.45

truth 6 10.1.0.2 '*' 198.51.100.45 445 SMB -
truth 6 10.1.0.2 '*' 198.51.100.45 10445 SMB -
truth 6 10.1.0.2 '*' 198.51.100.45 139 SMB -
truth 6 2001:db8:1::2 '*' 2001:db8:2::45 445 SMB -
truth 17 10.1.0.2 '*' 198.51.100.45 137 NetBIOS -
truth 17 198.51.100.45 137 198.51.100.255 137 NetBIOS - oneway maybe
truth 17 198.51.100.45 138 198.51.100.255 138 NetBIOS - oneway maybe
expect 8 'smb2.nt_status == 0' -d tcp.port==10445,nbss
expect 1 'smb.cmd == 0x72'
finish
