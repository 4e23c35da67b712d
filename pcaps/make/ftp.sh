#!/bin/bash
# FTP: vsftpd on 21 and 2121; curl lists, fetches, stores, passive (PASV, EPSV) and active (PORT); IPv4 and IPv6; FTP with
# AUTH TLS on 2121. Data connections have ports of their own choosing, within the ranges given to both sides.
PACKAGES="vsftpd curl"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.21/24 2001:db8:2::21/64
name 198.51.100.21 ftp.example.com
name 2001:db8:2::21 ftp6.example.com
make_cert ftp.example.com
mkdir -p ftp/pub ftp/in empty
make_file ftp/pub/photo.jpg 20000
seq 1 400 >ftp/pub/list.txt
chmod 755 ftp ftp/pub && chown ftp ftp/in
vsftpd_config() { # vsftpd_config PORT FIRST_DATA_PORT LINE...
    printf '%s\n' listen=NO listen_ipv6=YES listen_port=$1 background=NO anonymous_enable=YES anon_root=$W/ftp write_enable=YES \
        anon_upload_enable=YES anon_umask=022 no_anon_password=YES secure_chroot_dir=$W/empty pasv_min_port=$2 \
        pasv_max_port=$(($2 + 9)) seccomp_sandbox=NO connect_from_port_20=YES "${@:3}" >vsftpd.$1.conf
}
vsftpd_config 21 42000
vsftpd_config 2121 42100 ssl_enable=YES allow_anon_ssl=YES force_anon_logins_ssl=YES force_anon_data_ssl=YES require_ssl_reuse=NO \
    rsa_cert_file=$W/tls/ftp.example.com.crt rsa_private_key_file=$W/tls/ftp.example.com.key
bg server vsftpd $W/vsftpd.21.conf
bg server vsftpd $W/vsftpd.2121.conf
wait_port server tcp 21 2121

capture pcap
ftp() { on client curl -sS --cacert tls/ca.crt "$@"; }
ftp ftp://ftp.example.com/pub/ -o listing
ftp ftp://ftp.example.com/pub/photo.jpg -o a -o b ftp://ftp.example.com/pub/list.txt
cmp a ftp/pub/photo.jpg
ftp --disable-epsv ftp://ftp.example.com/pub/list.txt -o c
ftp -T a ftp://ftp.example.com/in/photo.jpg
ftp -P 10.1.0.2:45000-45009 ftp://ftp.example.com/pub/photo.jpg -o d
cmp d ftp/pub/photo.jpg
ftp -P 10.1.0.2:45010-45019 --disable-eprt -T c ftp://ftp.example.com/in/list.txt
ftp ftp://ftp6.example.com/pub/list.txt -o e
ftp --ssl-reqd ftp://ftp.example.com:2121/pub/list.txt -o f
cmp f ftp/pub/list.txt

truth 6 10.1.0.2 '*' 198.51.100.21 21 FTP -
truth 6 10.1.0.2 '*' 198.51.100.21 2121 FTP -
truth 6 2001:db8:1::2 '*' 2001:db8:2::21 21 FTP -
for ((p = 42000; p < 42010; p++)); do
    truth 6 10.1.0.2 '*' 198.51.100.21 $p 'FTP Data' - oneway maybe
    truth 6 2001:db8:1::2 '*' 2001:db8:2::21 $p 'FTP Data' - oneway maybe
    truth 6 10.1.0.2 '*' 198.51.100.21 $((p + 100)) TLS - maybe
done
for ((p = 45000; p < 45020; p++)); do truth 6 198.51.100.21 20 10.1.0.2 $p 'FTP Data' - oneway maybe; done
expect 7 'ftp.response.code == 226'
expect 2 'tls.handshake.type == 2'
finish
