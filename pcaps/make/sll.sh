#!/bin/bash
# The same small exchange (nginx and curl, bind9 and dig with an answer in IPv4 fragments), captured as Linux cooked v1 on the
# client's `any` interface: link types other than Ethernet, and fragments.
PACKAGES="nginx-light curl bind9 bind9-dnsutils"
. "$(dirname "$0")/lib.sh"
. "$MAKE_DIR/small.inc"
small_servers
capture pcap client any LINUX_SLL
small_exchange
small_truth
expect 1 'ip.flags.mf == 1'
finish
