#!/bin/bash
# IPsec: two strongSwan daemons (IKEv2 on 500, then 4500; pre-shared key; ESP in UDP by their own user-space IPsec) carry a page from
# nginx.
PACKAGES="strongswan-starter strongswan-charon libcharon-extra-plugins libstrongswan-standard-plugins nginx-light curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.50/24
mkdir www && seq 500 >www/index.html
cat >nginx.conf <<C
daemon off; pid $W/nginx.pid; error_log $W/log/error; user www-data; worker_processes 1;
events { worker_connections 64; }
http { access_log off; server { listen 80; root $W/www; } }
C
ip -n server addr add 192.0.2.1/32 dev lo
ip -n client addr add 192.0.2.9/32 dev lo
on server sysctl -qw net.ipv4.conf.all.arp_ignore=1 # only the tunnel leads to it
charon() { # charon HOST LEFT LEFT_NET RIGHT RIGHT_NET AUTO: a daemon in a mount namespace of its own, for its sockets and config
    mkdir -p /tmp/ipsec.$1
    cat >/tmp/ipsec.$1/ipsec.conf <<C
conn net
  keyexchange=ikev2
  authby=secret
  left=$2
  leftsubnet=$3
  right=$4
  rightsubnet=$5
  forceencaps=yes
  auto=$6
C
    echo "$2 $4 : PSK sesame" >/tmp/ipsec.$1/ipsec.secrets
    cat >/tmp/ipsec.$1/strongswan.conf <<C
charon {
  load = random nonce aes sha1 sha2 hmac kdf gmp curve25519 pem openssl kernel-libipsec kernel-netlink socket-default stroke
}
C
    bg "$1" env STRONGSWAN_CONF=/tmp/ipsec.$1/strongswan.conf unshare --mount bash -c "mount -t tmpfs tmpfs /run && mkdir /run/lock &&
        mount --bind /tmp/ipsec.$1/ipsec.conf /etc/ipsec.conf && mount --bind /tmp/ipsec.$1/ipsec.secrets /etc/ipsec.secrets &&
        exec ipsec start --nofork"
}
bg server nginx -c $W/nginx.conf
charon server 198.51.100.50 192.0.2.1/32 10.1.0.2 192.0.2.9/32 add
wait_port server udp 500 4500
capture pcap
charon client 10.1.0.2 192.0.2.9/32 198.51.100.50 192.0.2.1/32 start
for _ in {1..100}; do on client curl -fsS -m 2 --interface 192.0.2.9 -o got http://192.0.2.1/ 2>log/curl && break || sleep 0.2; done
cmp got www/index.html

truth 17 10.1.0.2 500 198.51.100.50 500 IKE -
truth 17 10.1.0.2 4500 198.51.100.50 4500 IKE -
expect 2 'isakmp.exchangetype == 34'
expect 4 'udpencap and esp'
finish
