#!/bin/bash
# Encrypted DNS: bind9 answers DNS over HTTPS on 443 and 8443 and DNS over TLS on 853; kdig asks.
PACKAGES="bind9 knot-dnsutils"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host bind 198.51.100.54/24
make_cert ns.example.com
mkdir bind && chmod 777 bind
printf '$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 198.51.100.54\nwww A 198.51.100.80\n' >bind/zone
cat >bind/named.conf <<C
tls own { cert-file "$W/tls/ns.example.com.crt"; key-file "$W/tls/ns.example.com.key"; };
http doh { endpoints { "/dns-query"; }; };
options { directory "$W/bind"; pid-file none; recursion no; dnssec-validation no; session-keyfile none;
  listen-on { any; }; listen-on port 443 tls own http doh { any; }; listen-on port 8443 tls own http doh { any; };
  listen-on port 853 tls own { any; }; };
controls { };
zone "example.com" { type primary; file "zone"; notify no; };
C
bg bind named -g -u bind -c $W/bind/named.conf
wait_port bind tcp 443 853 8443

capture pcap
ask() { answer '198.51.100.80' client kdig "$@" www.example.com A; }
ask @198.51.100.54 +https=ns.example.com/dns-query +tls-ca=$W/tls/ca.crt +tls-hostname=ns.example.com
ask @198.51.100.54 -p 8443 +https=ns.example.com/dns-query +tls-ca=$W/tls/ca.crt +tls-hostname=ns.example.com
ask @198.51.100.54 +tls +tls-ca=$W/tls/ca.crt +tls-hostname=ns.example.com +tls-sni=ns.example.com

truth 6 10.1.0.2 '*' 198.51.100.54 443 TLS DoH
truth 6 10.1.0.2 '*' 198.51.100.54 8443 TLS DoH
truth 6 10.1.0.2 '*' 198.51.100.54 853 TLS DoT
expect 3 'tls.handshake.type == 2' -d tcp.port==8443,tls
finish
