#!/bin/bash
# XMPP: prosody on 5222, 15222 (clear text allowed) and 5223 (TLS from the first byte); two slixmpp clients exchange messages, one in
# the clear, one after STARTTLS; one connects with TLS at once.
PACKAGES="prosody python3-slixmpp"
. "$(dirname "$0")/lib.sh"

host alice 10.1.0.2/24
host bob 10.1.0.3/24
host server 198.51.100.72/24
name 198.51.100.72 chat.example.com
make_cert chat.example.com
install -d -o prosody data
install -o prosody tls/chat.example.com.key tls/chat.example.com.crt $W/
cat >prosody.cfg.lua <<C
pidfile = "$W/data/prosody.pid"; data_path = "$W/data"; log = { info = "*console" }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping" }
modules_disabled = { "s2s" }
c2s_require_encryption = false; allow_unencrypted_plain_auth = true; authentication = "internal_plain"
c2s_ports = { 5222, 15222 }; c2s_direct_tls_ports = { 5223 }
ssl = { key = "$W/chat.example.com.key"; certificate = "$W/chat.example.com.crt" }
c2s_direct_tls_ssl = ssl
VirtualHost "chat.example.com"
C
as_prosody="setpriv --reuid prosody --regid prosody --clear-groups"
for n in alice bob; do $as_prosody prosodyctl --config $W/prosody.cfg.lua register $n chat.example.com secret >log/register; done
cat >chat.py <<'P'
import ssl, sys, slixmpp
jid, to, port, mode, count = sys.argv[1:6]
class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(jid + "@chat.example.com/home", "secret")
        self.left = int(count)
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message", self.message)
        if mode == "clear":
            self["feature_mechanisms"].unencrypted_plain = True
    async def start(self, _):
        self.send_presence()
        await self.get_roster()
        print("connected", flush=True)
        if to == "-":
            return
        for i in range(int(count)):
            self.send_message(mto=to + "@chat.example.com/home", mbody=f"hello {i}", mtype="chat")
    def message(self, msg):
        print("got", msg["body"], flush=True)
        if to == "-":
            msg.reply("yes, " + msg["body"]).send()
        self.left -= 1
        if not self.left:
            self.disconnect()
client = Client()
client.ca_certs = "/run/recipe/tls/ca.crt"
client.ssl_context.check_hostname = False
client.ssl_context.verify_mode = ssl.CERT_NONE
client.connect(("198.51.100.72", int(port)), use_ssl=mode == "tls", force_starttls=False, disable_starttls=mode == "clear")
client.process(forever=False)
P
bg server $as_prosody prosody -F --config $W/prosody.cfg.lua
wait_port server tcp 5222 15222 5223

capture pcap
bg bob python3 chat.py bob - 15222 clear 9
for _ in {1..100}; do grep -qs connected log/bob.python3 && break || sleep 0.1; done
answer 'got yes, hello 2' alice python3 chat.py alice bob 5222 clear 3
answer 'got yes, hello 2' alice python3 chat.py alice bob 15222 starttls 3
answer 'got yes, hello 2' alice python3 chat.py alice bob 5223 tls 3
sleep 1

truth 6 10.1.0.2 '*' 198.51.100.72 5222 XMPP -
truth 6 10.1.0.2 '*' 198.51.100.72 15222 XMPP -
truth 6 10.1.0.3 '*' 198.51.100.72 15222 XMPP -
truth 6 10.1.0.2 '*' 198.51.100.72 5223 TLS XMPP
expect 6 'xmpp.message' -d tcp.port==15222,xmpp
expect 1 'xmpp.proceed' -d tcp.port==15222,xmpp
finish
