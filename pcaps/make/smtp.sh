#!/bin/bash
# SMTP: postfix on 25, 587 (submission, STARTTLS required) and 465 (TLS from the first byte); swaks sends plain, with STARTTLS,
# pipelined, to a refused recipient; IPv4 and IPv6.
PACKAGES="postfix swaks libnet-ssleay-perl libio-socket-inet6-perl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.25/24 2001:db8:2::25/64
name 198.51.100.25 mx.example.com
name 10.1.0.2 client.example.net
make_cert mx.example.com
cat >/etc/postfix/main.cf <<C
compatibility_level = 3.6
myhostname = mx.example.com
mydestination = example.com
mynetworks = 127.0.0.0/8
inet_protocols = all
local_recipient_maps = static:all
mailbox_transport = discard
local_transport = discard
smtpd_tls_cert_file = $W/tls/mx.example.com.crt
smtpd_tls_key_file = $W/tls/mx.example.com.key
smtpd_tls_security_level = may
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
alias_maps =
maillog_file = /var/log/mail.log
C
cat >>/etc/postfix/master.cf <<C
submission inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
smtps inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
postlog unix-dgram n - n - 1 postlogd
C
sed -i 's/^\(smtp *inet *n *- *\)y/\1n/' /etc/postfix/master.cf
on server newaliases
on server postfix start >$W/log/postfix 2>&1
wait_port server tcp 25 587 465

capture pcap
mail() { on client swaks --helo client.example.net --from bob@example.net --to alice@example.com "$@" >>swaks.out; }
mail --server mx.example.com --body 'Lunch at noon?'
mail --server '2001:db8:2::25' --header 'Subject: six' --pipeline
mail --server mx.example.com --attach-type text/plain --attach @/etc/services --attach-name services.txt
mail --server mx.example.com --tls
mail --server mx.example.com:587 --tls
mail --server mx.example.com --tlsc --port 465
if mail --server mx.example.com --to carol@example.org; then false; fi
[ "$(grep -c 'queued as' swaks.out)" = 6 ]

truth 6 10.1.0.2 '*' 198.51.100.25 25 SMTP -
truth 6 10.1.0.2 '*' 198.51.100.25 587 SMTP -
truth 6 10.1.0.2 '*' 198.51.100.25 465 TLS SMTPS
truth 6 2001:db8:1::2 '*' 2001:db8:2::25 25 SMTP -
expect 3 'smtp.response.code == 250 and smtp.rsp.parameter contains "queued as"'
expect 1 'smtp.response.code == 554'
expect 2 'smtp.response.code == 220 and smtp.rsp.parameter contains "TLS"'
finish
