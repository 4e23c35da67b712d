#!/bin/bash
# RADIUS: freeradius on 1812 and 1813, and on 11812; radclient is accepted, refused, and accounts for a session; IPv4 and IPv6.
PACKAGES="freeradius freeradius-utils"
. "$(dirname "$0")/lib.sh"

host nas 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.58/24 2001:db8:2::58/64
mkdir acct
printf 'alice Cleartext-Password := "secret"\n\tReply-Message = "welcome", Framed-IP-Address = 10.1.7.9\n' >users
cat >radiusd.conf <<C
prefix = /usr
dictionary = /usr/share/freeradius
libdir = /usr/lib/freeradius
raddbdir = /etc/freeradius/3.0
run_dir = $W
client any4 {
  ipaddr = 0.0.0.0/0
  secret = testing123
}
client any6 {
  ipv6addr = ::/0
  secret = testing123
}
modules {
  files {
    filename = $W/users
  }
  pap {
  }
  chap {
  }
  detail {
    filename = $W/acct/detail
  }
}
server default {
  listen {
    type = auth
    ipaddr = *
    port = 1812
  }
  listen {
    type = auth
    ipv6addr = ::
    port = 1812
  }
  listen {
    type = auth
    ipaddr = *
    port = 11812
  }
  listen {
    type = acct
    ipaddr = *
    port = 1813
  }
  authorize {
    chap
    files
    pap
  }
  authenticate {
    pap
    chap
  }
  accounting {
    detail
  }
}
C
bg server freeradius -f -l stdout -d $W -n radiusd
wait_port server udp 1812 1813 11812

capture nano
ask() { answer "$1" nas bash -c "echo '$2' | radclient -x -r 1 $3 $4 testing123"; }
ask Access-Accept 'User-Name = alice, User-Password = secret, NAS-IP-Address = 10.1.0.2, Message-Authenticator = 0x00' 198.51.100.58:1812 auth
ask Access-Accept 'User-Name = alice, CHAP-Password = secret, NAS-Port = 7' 198.51.100.58:11812 auth
ask Access-Reject 'User-Name = alice, User-Password = wrong' 198.51.100.58:1812 auth
ask Access-Accept 'User-Name = alice, User-Password = secret' '[2001:db8:2::58]:1812' auth
for status in Start Stop; do
    ask Accounting-Response "User-Name = alice, Acct-Status-Type = $status, Acct-Session-Id = 17, Framed-IP-Address = 10.1.7.9" \
        198.51.100.58:1813 acct
done

truth 17 10.1.0.2 '*' 198.51.100.58 1812 RADIUS -
truth 17 10.1.0.2 '*' 198.51.100.58 11812 RADIUS -
truth 17 10.1.0.2 '*' 198.51.100.58 1813 RADIUS -
truth 17 2001:db8:1::2 '*' 2001:db8:2::58 1812 RADIUS -
expect 3 'radius.code == 2' -d udp.port==11812,radius
expect 1 'radius.code == 3'
expect 2 'radius.code == 5'
finish
