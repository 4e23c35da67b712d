#!/bin/bash
# POP3: dovecot on 110, 1100 and 995; curl lists and fetches messages, in the clear, with STLS, and over TLS from the
# first byte (POP3S).
PACKAGES="dovecot-core dovecot-pop3d curl"
. "$(dirname "$0")/lib.sh"
. "$MAKE_DIR/dovecot.inc"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.44/24 2001:db8:2::44/64
name 198.51.100.44 pop3.example.com
name 2001:db8:2::44 pop6.example.com
make_cert pop3.example.com
dovecot_config pop3 110 1100 995
for i in 1 2 3; do
    printf 'From: bob@example.net\nTo: alice@example.com\nSubject: letter %s\n\n%s\n' "$i" "$(seq -s ' ' 1 200)" \
        >$W/mail/alice/new/$i.host
done
chown -R mail:mail $W/mail
bg server dovecot -F -c $W/dovecot.conf
wait_port server tcp 110 1100 995

capture pcap
pop() { answer "$1" client curl -sS --cacert tls/ca.crt -u alice:secret "${@:2}"; }
pop '^3 ' pop3://pop3.example.com/
pop letter pop3://pop3.example.com/1
pop letter pop3://pop3.example.com:1100/2
pop '^3 ' -X UIDL pop3://pop6.example.com/
pop letter pop3://pop6.example.com/3
pop letter --ssl-reqd pop3://pop3.example.com/1
pop letter pop3s://pop3.example.com/1

truth 6 10.1.0.2 '*' 198.51.100.44 110 POP3 -
truth 6 10.1.0.2 '*' 198.51.100.44 1100 POP3 -
truth 6 10.1.0.2 '*' 198.51.100.44 995 TLS POP3S
truth 6 2001:db8:1::2 '*' 2001:db8:2::44 110 POP3 -
expect 4 'pop.response.indicator == "+OK" and pop contains "Logged in"' -d tcp.port==1100,pop
expect 2 'tls.handshake.type == 2'
finish
