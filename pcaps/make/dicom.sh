#!/bin/bash
# DICOM: dcmtk's storescp on 104 and 11112; echoscu verifies, storescu sends an image.
PACKAGES="dcmtk"
. "$(dirname "$0")/lib.sh"

host scanner 10.1.0.2/24
host archive 198.51.100.14/24
cat >image.txt <<C
(0008,0016) UI =SecondaryCaptureImageStorage
(0008,0018) UI [1.2.826.0.1.3680043.2.1143.1]
(0010,0010) PN [Doe^Jane]
(0010,0020) LO [17]
(0020,000d) UI [1.2.826.0.1.3680043.2.1143.2]
(0020,000e) UI [1.2.826.0.1.3680043.2.1143.3]
C
dump2dcm image.txt image.dcm 2>log/dump2dcm
mkdir a b
bg archive storescp -od $W/a 104
bg archive storescp -od $W/b 11112
wait_port archive tcp 104 11112

capture pcap
on scanner echoscu 198.51.100.14 104
on scanner storescu 198.51.100.14 104 image.dcm
on scanner storescu 198.51.100.14 11112 image.dcm
[ -n "$(ls a)" ] && [ -n "$(ls b)" ]

truth 6 10.1.0.2 '*' 198.51.100.14 104 DICOM -
truth 6 10.1.0.2 '*' 198.51.100.14 11112 DICOM -
expect 3 'dicom.pdu.type == 2' -d tcp.port==104,dicom -d tcp.port==11112,dicom
finish
