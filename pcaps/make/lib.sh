# Common part of the capture recipes; sourced by pcaps/make/NAME.sh after it has set PACKAGES.
#
# A recipe runs in namespaces of its own (network, mount, PID, UTS, IPC): nothing it starts can reach a real network,
# changes to /etc, /var, /run and /tmp are thrown away, and every daemon dies with the recipe, however that ends.
# Hosts are network namespaces joined by one bridge, `wire`; the capture is taken there, so each frame is seen once and
# at the size it has on the wire (offloads are off).
#
#   host NAME ADDR/LEN...            a host with these addresses; hosts reach each other's subnets directly
#   name ADDR NAME...                a line of /etc/hosts (so that only recipes about DNS have DNS in their capture)
#   on HOST CMD...                   runs CMD on HOST, at most 60 s; its failure ends the recipe
#   answer PATTERN HOST CMD...       runs CMD on HOST as `on` does; what it prints must match PATTERN (an extended expression;
#                                    when empty, its exit status must be 0)
#   bg HOST CMD...                   starts a daemon on HOST in the background, its output goes to $W/log
#   wait_port HOST tcp|udp PORT...   until something listens there (asks the kernel: no packet is sent)
#   make_cert NAME...                a throw-away certificate for NAME: $W/tls/NAME.crt, NAME.key; its CA is $W/tls/ca.crt
#   make_file PATH BYTES             a file of random bytes
#   capture [FORMAT [HOST IF LINK]]  starts the capture: pcap (default), nano or pcapng; on another interface than `wire` if given
#   truth IP_PROTO CLIENT_IP CLIENT_PORT SERVER_IP SERVER_PORT PROTOCOL APPLICATION [oneway] [maybe]
#                                    what was started: a line of NAME.truth.tsv; `*` is any port, `-` is no application;
#                                    `oneway`: payload is not expected in both directions (checked, not written);
#                                    `maybe`: left out when no such flow was seen (which peer calls, which data port is taken)
#   expect COUNT FILTER [ARG...]     at least COUNT packets match tshark's display FILTER (ARGs go to tshark)
#   finish                           stops the capture, checks it, writes NAME.truth.tsv and moves both to pcaps/
#
# Exit codes: 0 ok, 1 usage, 2 a package is missing, 3 the recipe failed, 4 the capture is not what the recipe claims.

set -Eeuo pipefail
shopt -s inherit_errexit

RECIPE=$(basename "$0" .sh)
MAKE_DIR=$(cd "$(dirname "$0")" && pwd)
OUT_DIR=${PCAPS_OUT:-$(dirname "$MAKE_DIR")}
BASE_PACKAGES="iproute2 ethtool tcpdump tshark openssl"

fail() { # fail EXIT_CODE TEXT...
    echo "$RECIPE: ${*:2}" >&2
    exit "$1"
}

package_version() { dpkg-query -W -f '${db:Status-Abbrev}${Version}' "$1" 2>/dev/null | sed -n 's/^ii *//p'; }

check_packages() {
    local p missing=""
    for p in $BASE_PACKAGES $PACKAGES; do
        [ -n "$(package_version "$p")" ] || missing+=" $p"
    done
    [ -z "$missing" ] || fail 2 "packages are missing:$missing (pcaps/make/all $RECIPE installs them)"
}

if [ -z "${PCAPS_INSIDE:-}" ]; then
    [ "$#" = 0 ] || fail 1 "takes no arguments; PCAPS_OUT=DIR writes elsewhere than $OUT_DIR"
    [ "$EUID" = 0 ] || fail 3 "needs root: it makes network namespaces"
    check_packages
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TZ=UTC0 PCAPS_INSIDE=1 \
        PCAPS_OUT="$OUT_DIR" PCAPS_KEEP="${PCAPS_KEEP:-}" \
        timeout -k 5 "${PCAPS_TIMEOUT:-240}" \
        unshare --net --mount --pid --uts --ipc --fork --kill-child --mount-proc bash "$MAKE_DIR/$RECIPE.sh"
fi

mount -t tmpfs tmpfs /run
W=/run/recipe
mkdir -p $W/log $W/tls $W/home /run/netns /run/lock /run/make /run/out
chmod 755 $W
mount --bind "$MAKE_DIR" /run/make
mount --bind "$OUT_DIR" /run/out
MAKE_DIR=/run/make
OUT_DIR=/run/out
for d in etc var; do
    mkdir -p $W/overlay/$d/upper $W/overlay/$d/work
    mount -t overlay overlay -o lowerdir=/$d,upperdir=$W/overlay/$d/upper,workdir=$W/overlay/$d/work /$d
done
mount -t tmpfs -o mode=1777 tmpfs /tmp
hostname recipe.example
printf '127.0.0.1 localhost recipe.example\n::1 localhost\n' >/etc/hosts
: >/etc/resolv.conf
export HOME=$W/home
cd $W
: >$W/truth
: >$W/oneway
: >$W/maybe

keep() { # PCAPS_KEEP=1 keeps the recipe's working directory, in OUT_DIR/NAME.work
    [ -z "${PCAPS_KEEP:-}" ] || cp -r --no-preserve=ownership $W "$OUT_DIR/$RECIPE.work"
}

recipe_failed() {
    echo "$RECIPE: failed in line $1 of $2: $3" >&2
    find $W/log -type f -exec tail -c 1500 {} + >&2 || true
    keep
    exit 3
}
trap 'recipe_failed "$LINENO" "${BASH_SOURCE[0]##*/}" "$BASH_COMMAND"' ERR

ip link set lo up
ip link add wire type bridge mcast_snooping 0
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set wire address 02:00:00:00:00:ff up
HOSTS=0

host() {
    local h=$1 a
    shift
    HOSTS=$((HOSTS + 1))
    ip netns add "$h"
    ip link add "port$HOSTS" type veth peer name eth0 address "02:00:00:00:00:0$HOSTS" netns "$h"
    ip link set "port$HOSTS" master wire up
    ethtool -K "port$HOSTS" tx off rx off tso off gso off gro off >/dev/null
    ip netns exec "$h" ethtool -K eth0 tx off rx off tso off gso off gro off >/dev/null
    ip netns exec "$h" sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
        net.ipv6.conf.eth0.router_solicitations=0 net.ipv4.ip_unprivileged_port_start=0
    ip -n "$h" link set lo up
    ip -n "$h" link set eth0 up
    for a in "$@"; do
        case $a in
            *:*) ip -n "$h" addr add "$a" dev eth0 nodad && ip -n "$h" -6 route replace default dev eth0 ;;
            *) ip -n "$h" addr add "$a" dev eth0 && ip -n "$h" route replace default dev eth0 ;;
        esac
    done
}

name() { echo "$@" >>/etc/hosts; }

on() { timeout -k 2 60 ip netns exec "$@" </dev/null; }

answer() {
    local pattern=$1 status=0
    shift
    on "$@" >$W/log/answer 2>&1 || status=$?
    [ -n "$pattern" ] || return "$status"
    grep -Eq -- "$pattern" $W/log/answer && return
    echo "$RECIPE: '${*:2}' exited with $status and printed nothing that matches '$pattern'" >&2
    return 1
}

bg() {
    local h=$1
    shift
    ip netns exec "$h" "$@" </dev/null >>"$W/log/$h.$(basename "$1")" 2>&1 &
}

wait_port() {
    local h=$1 proto=$2 p
    shift 2
    for p in "$@"; do
        for _ in {1..200}; do
            [ -z "$(ip netns exec "$h" ss -Hln --"$proto" "sport = :$p")" ] || continue 2
            sleep 0.1
        done
        echo "$RECIPE: nothing listens on $h $proto port $p after 20 s" >&2
        return 1
    done
}

make_ca() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/O=Recipe/CN=Recipe CA" \
        -keyout $W/tls/ca.key -out $W/tls/ca.crt 2>/dev/null
}

make_cert() {
    local n
    [ -e $W/tls/ca.crt ] || make_ca
    for n in "$@"; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$n" \
            -keyout "$W/tls/$n.key" -out "$W/tls/$n.csr" 2>/dev/null
        openssl x509 -req -in "$W/tls/$n.csr" -CA $W/tls/ca.crt -CAkey $W/tls/ca.key -CAcreateserial -days 3650 \
            -extfile <(echo "subjectAltName=DNS:$n") -out "$W/tls/$n.crt" 2>/dev/null
        chmod 644 "$W/tls/$n.key"
    done
}

make_file() { mkdir -p "$(dirname "$1")" && head -c "$2" /dev/urandom >"$1"; }

capture() {
    local format=${1:-pcap} h=${2:-} iface=${3:-wire} link=${4:-EN10MB} cmd=()
    CAPTURE=$W/$RECIPE.pcap
    case $format in
        pcap) cmd=(tcpdump -s 262144 -B 16384 -U -Z root) ;;
        nano) cmd=(tcpdump -s 262144 -B 16384 -U -Z root --time-stamp-precision=nano) ;;
        pcapng) cmd=(dumpcap -q -s 262144 --capture-comment "made by pcaps/make/$RECIPE.sh") && CAPTURE+=ng ;;
        *) fail 1 "unknown capture format $format: pcap, nano or pcapng" ;;
    esac
    [ -z "$h" ] || cmd=(ip netns exec "$h" "${cmd[@]}")
    "${cmd[@]}" -i "$iface" -y "$link" -w "$CAPTURE" 2>$W/log/capture &
    CAPTURE_PID=$!
    for _ in {1..100}; do
        [ -s "$CAPTURE" ] && return
        sleep 0.05
    done
    echo "$RECIPE: the capture did not start: $(cat $W/log/capture)" >&2
    return 1
}

truth() {
    [ $# -ge 7 ] || fail 3 "truth needs seven values, got: $*"
    local line
    printf -v line '%s\t%s\t%s\t%s\t%s\t%s\t%s' "${@:1:7}"
    shift 7
    case " $* " in *" maybe "*) echo "$line" >>$W/maybe ;; *) echo "$line" >>$W/truth ;; esac
    case " $* " in *" oneway "*) echo "$line" >>$W/oneway ;; esac
}

expect() {
    local want=$1 filter=$2 got
    shift 2
    stop_capture
    tshark -r "$CAPTURE" -Y "$filter" "$@" >$W/log/matches 2>$W/log/tshark || fail 4 "$(cat $W/log/tshark)"
    got=$(wc -l <$W/log/matches)
    [ "$got" -ge "$want" ] || fail 4 "$got packets match '$filter', at least $want expected"
}

stop_capture() {
    [ -n "${CAPTURE_PID:-}" ] || return 0
    sleep 1.5 # the kernel hands packets over within a second
    kill -INT "$CAPTURE_PID"
    wait "$CAPTURE_PID" || true
    CAPTURE_PID=
    chmod 644 "$CAPTURE"
    grep -Eq '^0 packets dropped by kernel|dropped on interface .* [0-9]+/0 ' $W/log/capture ||
        fail 4 "packets were lost: $(cat $W/log/capture)"
}

finish() {
    local p list=""
    stop_capture
    for p in $PACKAGES; do list+="${list:+, }$p $(package_version "$p")"; done
    {
        echo "# capture: $(basename "$CAPTURE"), made by pcaps/make/$RECIPE.sh; what was started, not what a classifier says"
        echo "# packages: $list"
        "$MAKE_DIR/check" --count "$CAPTURE"
        printf '# ip_proto\tclient_ip\tclient_port\tserver_ip\tserver_port\tprotocol\tapplication\n'
        cat $W/truth
        "$MAKE_DIR/check" --seen "$CAPTURE" $W/maybe
    } >"$W/$RECIPE.truth.tsv"
    "$MAKE_DIR/check" "$CAPTURE" "$W/$RECIPE.truth.tsv" $W/oneway || { keep && exit 4; }
    rm -f "$OUT_DIR/$RECIPE.pcap" "$OUT_DIR/$RECIPE.pcapng"
    cp "$CAPTURE" "$W/$RECIPE.truth.tsv" "$OUT_DIR/"
    echo "$RECIPE: $(sed -n 's/^# counts: //p' "$W/$RECIPE.truth.tsv")"
    keep
    exit 0
}
