#!/bin/bash
# IRC: ngircd on 6667, 16667 and 6697 (TLS); three ii clients join a channel and talk.
PACKAGES="ngircd ii socat"
. "$(dirname "$0")/lib.sh"

host alice 10.1.0.2/24 2001:db8:1::2/64
host bob 10.1.0.3/24
host server 198.51.100.67/24 2001:db8:2::67/64
make_cert irc.example.com
cat >ngircd.conf <<C
[Global]
Name = irc.example.com
Info = a chat server
AdminInfo1 = ops
Listen = ::,0.0.0.0
Ports = 6667, 16667
MotdPhrase = Be kind.
ServerUID = irc
ServerGID = irc
[Options]
PAM = no
DNS = no
Ident = no
[SSL]
CertFile = $W/tls/irc.example.com.crt
KeyFile = $W/tls/irc.example.com.key
Ports = 6697
C
bg server ngircd -n -f $W/ngircd.conf
wait_port server tcp 6667 16667 6697

capture pcap
join() { # join HOST NICK SERVER PORT
    bg "$1" ii -i $W/ii.$2 -s "$3" -p "$4" -n "$2" -f "$2"
    for _ in {1..50}; do [ -p $W/ii.$2/$3/in ] && break || sleep 0.1; done
    sleep 0.5
    echo '/j #hall' >$W/ii.$2/$3/in
    for _ in {1..50}; do [ -p "$W/ii.$2/$3/#hall/in" ] && break || sleep 0.1; done
}
join alice alice 198.51.100.67 6667
join bob bob 198.51.100.67 16667
join alice carol 2001:db8:2::67 6667
for i in 1 2 3; do
    echo "hello $i" >'ii.alice/198.51.100.67/#hall/in'
    echo "hello $i to you" >'ii.bob/198.51.100.67/#hall/in'
    sleep 0.3
done
(printf 'NICK dave\r\nUSER dave 0 * :Dave\r\n'; sleep 1; printf 'PRIVMSG bob :from dave\r\n'; sleep 0.3; printf 'QUIT :bye\r\n'; sleep 0.5) |
    timeout 10 ip netns exec bob socat - OPENSSL:198.51.100.67:6697,verify=0 >dave.out
grep -q 'Be kind' dave.out
for n in alice bob carol; do echo '/q bye' >$(echo ii.$n/*/in); done
sleep 0.5
grep -q 'hello 3 to you' 'ii.alice/198.51.100.67/#hall/out'

truth 6 10.1.0.2 '*' 198.51.100.67 6667 IRC -
truth 6 10.1.0.3 '*' 198.51.100.67 16667 IRC -
truth 6 10.1.0.3 '*' 198.51.100.67 6697 TLS -
truth 6 2001:db8:1::2 '*' 2001:db8:2::67 6667 IRC -
expect 3 'irc.response.command == "001"' -d tcp.port==16667,irc
finish
