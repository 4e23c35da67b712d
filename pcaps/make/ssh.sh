#!/bin/bash
# SSH: OpenSSH's sshd on 22 and 2022 with throw-away keys; ssh runs commands, scp copies a file over sftp and (-O) over rcp,
# one log-in is refused; IPv4 and IPv6.
PACKAGES="openssh-server openssh-client"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.22/24 2001:db8:2::22/64
name 198.51.100.22 shell.example.com
name 2001:db8:2::22 six.example.com
for k in host user stranger; do ssh-keygen -q -t ed25519 -N '' -C "$k" -f $W/$k; done
mkdir -p /run/sshd
cp user.pub keys && chmod 600 keys host user stranger
cat >sshd_config <<C
Port 22
Port 2022
HostKey $W/host
AuthorizedKeysFile $W/keys
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
Subsystem sftp internal-sftp
PidFile none
C
cat >ssh_config <<C
Host *
  User root
  LogLevel ERROR
  IdentityFile $W/user
  IdentitiesOnly yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile $W/known
C
make_file $W/data 20000
bg server /usr/sbin/sshd -D -e -f $W/sshd_config
wait_port server tcp 22 2022

capture pcap
answer Linux client ssh -F ssh_config shell.example.com 'uname -s; seq 1 300'
on client ssh -F ssh_config -p 2022 shell.example.com 'date; sleep 0.3; date' >out
on client ssh -F ssh_config six.example.com 'cat' >out
on client scp -q -F ssh_config data shell.example.com:$W/copy
on client scp -q -O -F ssh_config -P 2022 shell.example.com:$W/copy back
cmp data back
sed s/user$/stranger/ ssh_config >ssh_config_stranger
status=0
on client ssh -F ssh_config_stranger shell.example.com true || status=$?
[ "$status" = 255 ]

truth 6 10.1.0.2 '*' 198.51.100.22 22 SSH -
truth 6 10.1.0.2 '*' 198.51.100.22 2022 SSH -
truth 6 2001:db8:1::2 '*' 2001:db8:2::22 22 SSH -
expect 12 'ssh.protocol' -d tcp.port==2022,ssh
expect 6 'ssh.message_code == 21' -d tcp.port==2022,ssh
finish
