#!/bin/bash
# DNS: bind9 is authoritative for example.com over UDP and TCP (IPv4, IPv6, zone transfer, NXDOMAIN, a name of every common type);
# knot answers for example.net on 53 and 15353; DoT on 853 by bind9; dig and kdig ask.
PACKAGES="bind9 knot bind9-dnsutils knot-dnsutils"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host bind 198.51.100.53/24 2001:db8:2::53/64
host knot 203.0.113.53/24
make_cert ns.example.com
mkdir -p bind knot/zone && chmod 777 bind knot knot/zone

zone() { # zone NAME
    cat <<Z
\$ORIGIN $1.
\$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
@ MX 10 mail
@ TXT "v=spf1 mx -all"
ns A 198.51.100.53
www A 198.51.100.80
www AAAA 2001:db8:2::80
mail A 198.51.100.25
ftp CNAME www
_sip._udp SRV 10 20 5060 sip
sip A 198.51.100.60
big TXT "$(head -c 190 /dev/zero | tr '\0' a)" "$(head -c 190 /dev/zero | tr '\0' b)" "$(head -c 250 /dev/zero | tr '\0' c)"
big TXT "$(head -c 240 /dev/zero | tr '\0' d)" "$(head -c 240 /dev/zero | tr '\0' e)" "$(head -c 250 /dev/zero | tr '\0' f)"
Z
}
zone example.com >bind/zone
echo '80 PTR www.example.com.' | cat <(zone 100.51.198.in-addr.arpa | head -4 | sed 's/NS ns/NS ns.example.com./') - >bind/reverse
zone example.net >knot/zone/example.net.zone
cat >bind/named.conf <<C
tls dot { cert-file "$W/tls/ns.example.com.crt"; key-file "$W/tls/ns.example.com.key"; };
options {
  directory "$W/bind"; pid-file none; recursion no; dnssec-validation no; session-keyfile none; allow-transfer { any; };
  listen-on { any; }; listen-on-v6 { any; };
  listen-on port 853 tls dot { any; };
};
controls { };
zone "example.com" { type primary; file "zone"; notify no; };
zone "100.51.198.in-addr.arpa" { type primary; file "reverse"; notify no; };
C
cat >knot/knot.conf <<C
server:
    rundir: "$W/knot"
    listen: [ "203.0.113.53@53", "203.0.113.53@15353" ]
database:
    storage: "$W/knot"
template:
  - id: default
    storage: "$W/knot/zone"
zone:
  - domain: example.net
C
bg bind named -g -u bind -c $W/bind/named.conf
bg knot knotd -c $W/knot/knot.conf
wait_port bind tcp 53 853
wait_port knot udp 53 15353

capture pcap
for type in A AAAA; do answer NOERROR client dig @198.51.100.53 www.example.com $type +tries=1; done
for q in "example.com MX" "example.com TXT" "example.com SOA" "ftp.example.com A" "_sip._udp.example.com SRV" "-x 198.51.100.80"; do
    # shellcheck disable=SC2086
    answer NOERROR client dig @198.51.100.53 $q +noedns
done
answer NXDOMAIN client dig @198.51.100.53 absent.example.com A
answer REFUSED client dig @198.51.100.53 www.example.org A
answer 'flags:.* tc' client dig @198.51.100.53 big.example.com TXT +noedns +ignore
answer NOERROR client dig @198.51.100.53 big.example.com TXT +tcp
answer 'XFR size' client dig @198.51.100.53 example.com AXFR
answer NOERROR client dig @2001:db8:2::53 www.example.com AAAA
answer NOERROR client kdig @203.0.113.53 www.example.net A
answer NOERROR client kdig @203.0.113.53 -p 15353 www.example.net AAAA
answer NOERROR client kdig @203.0.113.53 -p 15353 +tcp www.example.net A mail.example.net A
answer NOERROR client kdig @198.51.100.53 +tls +tls-ca=$W/tls/ca.crt +tls-hostname=ns.example.com www.example.com A mail.example.com A

for proto in 17 6; do
    truth $proto 10.1.0.2 '*' 198.51.100.53 53 DNS -
    truth $proto 10.1.0.2 '*' 203.0.113.53 15353 DNS -
done
truth 17 2001:db8:1::2 '*' 2001:db8:2::53 53 DNS -
truth 17 10.1.0.2 '*' 203.0.113.53 53 DNS -
truth 6 10.1.0.2 '*' 198.51.100.53 853 TLS DoT
expect 12 'dns.flags.response == 1 and udp'
expect 1 'dns.flags.rcode == 3'
expect 2 'dns.flags.response == 1 and tcp.port == 53'
expect 1 'tls.handshake.type == 2 and tcp.port == 853'
finish
