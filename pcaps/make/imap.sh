#!/bin/bash
# IMAP: dovecot on 143, 1430 and 993; curl lists folders, appends and fetches messages, in the clear, with STARTTLS, and over TLS
# from the first byte (IMAPS); a wrong password.
PACKAGES="dovecot-core dovecot-imapd curl"
. "$(dirname "$0")/lib.sh"
. "$MAKE_DIR/dovecot.inc"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.43/24 2001:db8:2::43/64
name 198.51.100.43 imap.example.com
name 2001:db8:2::43 imap6.example.com
make_cert imap.example.com
dovecot_config imap 143 1430 993
bg server dovecot -F -c $W/dovecot.conf
wait_port server tcp 143 1430 993

printf 'From: bob@example.net\r\nTo: alice@example.com\r\nSubject: lunch\r\n\r\nAt noon?\r\n' >mail.eml
capture pcap
imap() { answer "$1" client curl -sS --cacert tls/ca.crt -u alice:secret "${@:2}"; }
on client curl -sS -u alice:secret -T mail.eml imap://imap.example.com/INBOX
imap INBOX imap://imap.example.com/
imap lunch 'imap://imap.example.com:1430/INBOX;MAILINDEX=1'
imap SEARCH -X 'SEARCH ALL' imap://imap6.example.com/INBOX
imap lunch --ssl-reqd 'imap://imap.example.com/INBOX;MAILINDEX=1'
imap lunch 'imaps://imap.example.com/INBOX;MAILINDEX=1'
answer denied client curl -sS -u alice:wrong imap://imap.example.com/

truth 6 10.1.0.2 '*' 198.51.100.43 143 IMAP -
truth 6 10.1.0.2 '*' 198.51.100.43 1430 IMAP -
truth 6 10.1.0.2 '*' 198.51.100.43 993 TLS IMAPS
truth 6 2001:db8:1::2 '*' 2001:db8:2::43 143 IMAP -
expect 4 'imap.response.status == "OK" and imap contains "Logged in"' -d tcp.port==1430,imap
expect 1 'imap contains "AUTHENTICATIONFAILED"'
expect 2 'tls.handshake.type == 2'
finish
