#!/bin/bash
# MQTT: mosquitto on 1883 and 11883 in the clear, on 8883 over TLS; mosquitto_sub and mosquitto_pub with QoS 0, 1, 2, versions
# 3.1.1 and 5, a retained message and a will.
PACKAGES="mosquitto mosquitto-clients"
. "$(dirname "$0")/lib.sh"

host sensor 10.1.0.2/24 2001:db8:1::2/64
host viewer 10.1.0.3/24
host broker 198.51.100.83/24 2001:db8:2::83/64
name 198.51.100.83 mqtt.example.com
make_cert mqtt.example.com
cat >mosquitto.conf <<C
allow_anonymous true
persistence false
listener 1883
listener 11883
listener 8883
certfile $W/tls/mqtt.example.com.crt
keyfile $W/tls/mqtt.example.com.key
C
bg broker mosquitto -c $W/mosquitto.conf
wait_port broker tcp 1883 11883 8883

capture pcap
bg viewer mosquitto_sub -h 198.51.100.83 -t 'home/#' -q 1 -C 12 -W 30
sub=$!
bg viewer mosquitto_sub -h 198.51.100.83 -p 11883 -V 5 -t 'home/hall/#' -q 2 -C 2 -W 30 -i viewer5
sub5=$!
sleep 1
pub() { on sensor mosquitto_pub "$@"; }
for i in 1 2 3 4 5; do echo "$i 21.$i"; done | ip netns exec sensor mosquitto_pub -h 198.51.100.83 -t home/kitchen/temperature -q 1 -l
pub -h 2001:db8:2::83 -t home/hall/light -m on -q 2 -V 5
pub -h 198.51.100.83 -p 11883 -t home/hall/light -m off -q 0 -r
for i in 1 2 3 4; do pub -h 198.51.100.83 -t home/door -m "open $i" --will-topic home/lost --will-payload sensor; done
pub -h mqtt.example.com -p 8883 --cafile tls/ca.crt -t home/safe -m closed -q 1
wait $sub $sub5
[ "$(grep -c . log/viewer.mosquitto_sub)" = 14 ]

truth 6 10.1.0.2 '*' 198.51.100.83 1883 MQTT -
truth 6 10.1.0.3 '*' 198.51.100.83 1883 MQTT -
truth 6 10.1.0.2 '*' 198.51.100.83 11883 MQTT -
truth 6 10.1.0.3 '*' 198.51.100.83 11883 MQTT -
truth 6 2001:db8:1::2 '*' 2001:db8:2::83 1883 MQTT -
truth 6 10.1.0.2 '*' 198.51.100.83 8883 TLS -
expect 8 'mqtt.msgtype == 2' -d tcp.port==11883,mqtt
finish
