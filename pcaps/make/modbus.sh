#!/bin/bash
# Modbus/TCP: a pymodbus server on 502 and one on 10502; mbpoll reads coils and registers, writes registers, and meets an exception.
PACKAGES="python3-pymodbus python3-serial python3-serial-asyncio mbpoll"
. "$(dirname "$0")/lib.sh"

host scada 10.1.0.2/24
host plc 198.51.100.50/24
cat >plc.py <<'P'
import sys
from pymodbus.server import StartTcpServer
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusSlaveContext, ModbusServerContext
block = lambda: ModbusSequentialDataBlock(0, [17] * 100)
StartTcpServer(context=ModbusServerContext(slaves=ModbusSlaveContext(di=block(), co=block(), hr=block(), ir=block()), single=True),
               address=("198.51.100.50", int(sys.argv[1])))
P
bg plc python3 plc.py 502
bg plc python3 plc.py 10502
wait_port plc tcp 502 10502

capture pcap
poll() { answer "$1" scada mbpoll -1 -m tcp -a 1 "${@:2}"; }
poll '17' -t 4 -r 1 -c 10 198.51.100.50
poll 'Written 3' -t 4 -r 5 198.51.100.50 1 2 3
poll '\[5\]:' -t 0 -r 1 -c 8 198.51.100.50
poll '17' -t 3 -r 1 -c 4 -p 10502 198.51.100.50
poll 'Illegal data address' -t 4 -r 500 -c 4 -p 10502 198.51.100.50
for _ in 1 2 3; do poll '17' -t 4 -r 20 -c 3 198.51.100.50; done

truth 6 10.1.0.2 '*' 198.51.100.50 502 Modbus -
truth 6 10.1.0.2 '*' 198.51.100.50 10502 Modbus -
expect 6 'modbus and tcp.srcport == 502'
expect 1 'modbus.exception_code' -d tcp.port==10502,mbtcp
finish
