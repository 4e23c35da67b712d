#!/bin/bash
# Kerberos: krb5kdc on 88 (UDP, TCP) and 10088; kinit gets a ticket, kvno a service ticket; a wrong password.
PACKAGES="krb5-kdc krb5-admin-server krb5-user"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.89/24
cat >krb5.conf <<C
[libdefaults]
default_realm = EXAMPLE.COM
dns_lookup_kdc = false
dns_canonicalize_hostname = false
[realms]
EXAMPLE.COM = { 
  kdc = 198.51.100.89
  database_name = $W/db
}
C
cat >kdc.conf <<C
[realms]
EXAMPLE.COM = {
  database_name = $W/db
  key_stash_file = $W/stash
  kdc_listen = 88, 10088
  kdc_tcp_listen = 88
  acl_file = $W/acl
}
C
sed 's/kdc = .*/kdc = 198.51.100.89:10088/' krb5.conf >krb5odd.conf
sed 's/kdc = .*/&/; s/\[libdefaults\]/&\nudp_preference_limit = 1/' krb5.conf >krb5tcp.conf
export KRB5_CONFIG=$W/krb5.conf KRB5_KDC_PROFILE=$W/kdc.conf KRB5CCNAME=FILE:$W/cc
kdb5_util create -s -P master >log/kdb 2>&1
kadmin.local -q 'addprinc -pw secret alice' >log/kadmin 2>&1
kadmin.local -q 'addprinc -randkey HTTP/www.example.com' >>log/kadmin 2>&1
bg server krb5kdc -n
wait_port server udp 88 10088
wait_port server tcp 88

capture pcap
login() { answer "$1" client env KRB5_CONFIG=$W/$2 bash -c "echo $3 | kinit alice && kvno HTTP/www.example.com"; }
login 'kvno = 1' krb5.conf secret
login 'kvno = 1' krb5odd.conf secret
login 'kvno = 1' krb5tcp.conf secret
login 'Password incorrect' krb5.conf wrong

truth 17 10.1.0.2 '*' 198.51.100.89 88 Kerberos -
truth 17 10.1.0.2 '*' 198.51.100.89 10088 Kerberos -
truth 6 10.1.0.2 '*' 198.51.100.89 88 Kerberos -
expect 3 'kerberos.msg_type == 11' -d udp.port==10088,kerberos
expect 3 'kerberos.msg_type == 13' -d udp.port==10088,kerberos
finish
