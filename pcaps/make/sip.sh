#!/bin/bash
# SIP: sipp answers on 5060 and 15060 (UDP) and 5060 (TCP); sipp calls, three short calls each; one call carries RTP (G.711, to
# port 6000, echoed).
PACKAGES="sip-tester"
. "$(dirname "$0")/lib.sh"

host caller 10.1.0.2/24
host callee 198.51.100.59/24
make_file tone.pcmu 12000
cat >call.xml <<'X'
<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="call with media">
  <send retrans="500"><![CDATA[
      INVITE sip:bob@[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: alice <sip:alice@[local_ip]:[local_port]>;tag=[call_number]
      To: bob <sip:bob@[remote_ip]:[remote_port]>
      Call-ID: [call_id]
      CSeq: 1 INVITE
      Contact: sip:alice@[local_ip]:[local_port]
      Max-Forwards: 70
      Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=alice 1 1 IN IP4 [local_ip]
      s=-
      c=IN IP4 [local_ip]
      t=0 0
      m=audio [rtpstream_audio_port] RTP/AVP 0
      a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rtd="true"/>
  <send><![CDATA[
      ACK sip:bob@[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: alice <sip:alice@[local_ip]:[local_port]>;tag=[call_number]
      To: bob <sip:bob@[remote_ip]:[remote_port]>[peer_tag_param]
      Call-ID: [call_id]
      CSeq: 1 ACK
      Max-Forwards: 70
      Content-Length: 0

  ]]></send>
  <nop><action><exec rtp_stream="tone.pcmu,1,0,PCMU/8000"/></action></nop>
  <pause milliseconds="1500"/>
  <send retrans="500"><![CDATA[
      BYE sip:bob@[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: alice <sip:alice@[local_ip]:[local_port]>;tag=[call_number]
      To: bob <sip:bob@[remote_ip]:[remote_port]>[peer_tag_param]
      Call-ID: [call_id]
      CSeq: 2 BYE
      Max-Forwards: 70
      Content-Length: 0

  ]]></send>
  <recv response="200"/>
</scenario>
X
serve() { bg callee env TERM=dumb sipp -sn uas -i 198.51.100.59 -nostdin "$@"; }
serve -p 5060 -mp 6000 -rtp_echo
serve -p 15060 -mp 6100
serve -p 5060 -t t1 -mp 6200
wait_port callee udp 5060 15060
wait_port callee tcp 5060

capture pcap
call() { on caller env TERM=dumb sipp -i 10.1.0.2 -nostdin -timeout 20 "$@" >$W/log/sipp; }
call 198.51.100.59:15060 -sn uac -m 3 -d 100 -p 5070 -mp 7100
call 198.51.100.59:5060 -sn uac -m 3 -d 100 -t t1 -p 5071 -mp 7200
call 198.51.100.59:5060 -sf call.xml -m 1 -p 5072 -mp 6000

truth 17 10.1.0.2 5070 198.51.100.59 15060 SIP -
truth 17 10.1.0.2 5072 198.51.100.59 5060 SIP -
truth 6 10.1.0.2 '*' 198.51.100.59 5060 SIP -
truth 17 10.1.0.2 '*' 198.51.100.59 6000 RTP -
expect 7 'sip.Status-Code == 200' -d udp.port==15060,sip -d udp.port==5070,sip
expect 50 'rtp'
finish
