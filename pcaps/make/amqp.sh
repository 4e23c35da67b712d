#!/bin/bash
# AMQP 0-9-1: RabbitMQ on 5672 and 15679; amqp-declare-queue, amqp-publish and amqp-get send and fetch messages.
PACKAGES="rabbitmq-server amqp-tools"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.76/24 2001:db8:2::76/64
mkdir rabbit
export RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_BASE=$W/rabbit RABBITMQ_MNESIA_BASE=$W/rabbit RABBITMQ_LOG_BASE=$W/rabbit \
    RABBITMQ_ENABLED_PLUGINS_FILE=$W/plugins RABBITMQ_CONFIG_FILE=$W/rabbitmq RABBITMQ_PID_FILE=$W/rabbit/pid ERL_EPMD_ADDRESS=127.0.0.1
echo '[].' >plugins
printf 'listeners.tcp.1 = :::5672\nlisteners.tcp.2 = :::15679\nloopback_users = none\n' >rabbitmq.conf
bg server /usr/lib/rabbitmq/bin/rabbitmq-server
wait_port server tcp 5672 15679
sleep 5

capture pcap
on client amqp-declare-queue -s 198.51.100.76 -q orders >log/declare
for i in 1 2 3; do on client amqp-publish -s 198.51.100.76 -r orders -b "order $i"; done
answer 'order 1' client amqp-get -s 198.51.100.76 --port=15679 -q orders
answer 'order 2' client amqp-get --url 'amqp://guest:guest@[2001:db8:2::76]:5672/%2f' -q orders

truth 6 10.1.0.2 '*' 198.51.100.76 5672 AMQP -
truth 6 10.1.0.2 '*' 198.51.100.76 15679 AMQP -
truth 6 2001:db8:1::2 '*' 2001:db8:2::76 5672 AMQP -
expect 3 'amqp.method.class == 60'
finish
