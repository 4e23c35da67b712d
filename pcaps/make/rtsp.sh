#!/bin/bash
# RTSP: GStreamer's RTSP server on 554 and 8554 sends G.711 audio and JPEG video; rtspsrc plays over UDP (RTP and RTCP on ports
# 45000-45003 and 46000-46003) and, interleaved, over TCP.
PACKAGES="gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-tools"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.88/24 2001:db8:2::88/64
cat >serve.py <<'P'
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
server = GstRtspServer.RTSPServer(service=sys.argv[1], address="::")
pool = GstRtspServer.RTSPAddressPool()
pool.add_range(GstRtspServer.RTSP_ADDRESS_POOL_ANY_IPV4, GstRtspServer.RTSP_ADDRESS_POOL_ANY_IPV4, 46000, 46003, 0)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_address_pool(pool)
factory.set_launch("( audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! mulawenc ! rtppcmupay name=pay0 pt=0 "
                   "videotestsrc is-live=true ! video/x-raw,format=I420,width=96,height=64,framerate=10/1 ! "
                   "jpegenc ! rtpjpegpay name=pay1 pt=26 )")
server.get_mount_points().add_factory("/hall", factory)
server.attach(None)
GLib.MainLoop().run()
P
bg server python3 serve.py 554
bg server python3 serve.py 8554
wait_port server tcp 554 8554

capture pcap
play() { # play URL PROTOCOL: 40 packets of audio, as many of video as come meanwhile
    answer 'Got EOS' client gst-launch-1.0 rtspsrc location="$1" protocols="$2" port-range=45000-45003 latency=0 name=s \
        s. ! application/x-rtp,media=audio ! fakesink num-buffers=40 s. ! application/x-rtp,media=video ! fakesink num-buffers=20
}
play rtsp://198.51.100.88/hall udp
play rtsp://198.51.100.88:8554/hall tcp
play 'rtsp://[2001:db8:2::88]:554/hall' tcp

truth 6 10.1.0.2 '*' 198.51.100.88 554 RTSP -
truth 6 10.1.0.2 '*' 198.51.100.88 8554 RTSP -
truth 6 2001:db8:1::2 '*' 2001:db8:2::88 554 RTSP -
for i in 0 2; do
    for j in 0 2; do
        truth 17 10.1.0.2 4500$i 198.51.100.88 4600$j RTP - maybe oneway
        truth 17 10.1.0.2 4500$((i + 1)) 198.51.100.88 4600$((j + 1)) RTCP - maybe oneway
        truth 17 198.51.100.88 4600$j 10.1.0.2 4500$i RTP - maybe oneway
        truth 17 198.51.100.88 4600$((j + 1)) 10.1.0.2 4500$((i + 1)) RTCP - maybe oneway
    done
done
expect 3 'rtsp.method == "PLAY"' -d tcp.port==8554,rtsp
expect 30 'rtp and udp'
finish
