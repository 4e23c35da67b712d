#!/bin/bash
# LDAP: slapd on 389, 10389 and 636; ldapadd, ldapsearch, a refused bind; in the clear, with StartTLS, and over TLS from the first
# byte (LDAPS).
PACKAGES="slapd ldap-utils"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.56/24 2001:db8:2::56/64
name 198.51.100.56 ldap.example.com
make_cert ldap.example.com
mkdir db
cat >slapd.conf <<C
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile $W/tls/ldap.example.com.crt
TLSCertificateKeyFile $W/tls/ldap.example.com.key
database mdb
suffix dc=example,dc=com
rootdn cn=admin,dc=example,dc=com
rootpw secret
directory $W/db
maxsize 4194304
C
{
    printf 'dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n'
    for n in alice bob carol; do
        printf 'dn: cn=%s,dc=example,dc=com\nobjectClass: inetOrgPerson\ncn: %s\nsn: Smith\nmail: %s@example.com\n\n' $n $n $n
    done
} >people.ldif
bg server slapd -d 0 -f $W/slapd.conf -h 'ldap:/// ldaps:/// ldap://:10389/'
wait_port server tcp 389 636 10389

capture pcap
export LDAPTLS_CACERT=$W/tls/ca.crt
admin=(-x -D cn=admin,dc=example,dc=com)
answer 'adding new entry' client ldapadd "${admin[@]}" -w secret -H ldap://198.51.100.56 -f people.ldif
answer alice@example.com client ldapsearch -x -H ldap://198.51.100.56 -b dc=example,dc=com '(sn=Smith)' mail
answer bob client ldapsearch -x -H 'ldap://[2001:db8:2::56]' -b dc=example,dc=com '(cn=b*)'
answer carol client ldapsearch -x -H ldap://198.51.100.56:10389 -b dc=example,dc=com '(&(objectClass=person)(cn=carol))'
answer 'Invalid credentials' client ldapwhoami "${admin[@]}" -w wrong -H ldap://198.51.100.56
answer alice client ldapsearch -ZZ "${admin[@]}" -w secret -H ldap://ldap.example.com -b dc=example,dc=com '(cn=alice)'
answer alice client ldapsearch "${admin[@]}" -w secret -H ldaps://ldap.example.com -b dc=example,dc=com '(cn=alice)'

truth 6 10.1.0.2 '*' 198.51.100.56 389 LDAP -
truth 6 10.1.0.2 '*' 198.51.100.56 10389 LDAP -
truth 6 10.1.0.2 '*' 198.51.100.56 636 TLS LDAPS
truth 6 2001:db8:1::2 '*' 2001:db8:2::56 389 LDAP -
expect 4 'ldap.searchResEntry_element' -d tcp.port==10389,ldap
finish
