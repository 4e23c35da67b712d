#!/bin/bash
# WebSocket: websocketd on 8080 (clear) and 8443 (TLS) echoes lines; python3-websockets talks to it.
PACKAGES="websocketd python3-websockets"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24
host server 198.51.100.86/24
name 198.51.100.86 ws.example.com
make_cert ws.example.com
cat >talk.py <<'P'
import asyncio, ssl, sys, websockets
async def talk(url):
    context = ssl.create_default_context(cafile="/run/recipe/tls/ca.crt") if url.startswith("wss") else None
    async with websockets.connect(url, ssl=context) as ws:
        for i in range(5):
            await ws.send(f"line {i} " + "x" * 40 * i)
            print(await ws.recv())
asyncio.run(talk(sys.argv[1]))
P
bg server websocketd --port=8080 --address=198.51.100.86 cat -u
bg server websocketd --port=8443 --address=198.51.100.86 --ssl --sslcert=tls/ws.example.com.crt --sslkey=tls/ws.example.com.key cat -u
wait_port server tcp 8080 8443

capture pcap
answer 'line 4' client python3 talk.py ws://ws.example.com:8080/talk
answer 'line 4' client python3 talk.py wss://ws.example.com:8443/talk

truth 6 10.1.0.2 '*' 198.51.100.86 8080 HTTP WebSocket
truth 6 10.1.0.2 '*' 198.51.100.86 8443 TLS -
expect 8 'websocket.opcode == 1' -d tcp.port==8080,http
expect 1 'http.response.code == 101'
finish
