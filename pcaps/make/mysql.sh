#!/bin/bash
# MySQL: MariaDB on 3306 and 13306; its client logs in, creates, inserts, selects, makes a mistake, in the clear and over TLS after
# the greeting; a wrong password.
PACKAGES="mariadb-server mariadb-client"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.55/24 2001:db8:2::55/64
make_cert db.example.com
printf '%s;\n' "create user alice@'%' identified by 'secret'" 'create database d' \
    "grant all on d.* to alice@'%'" >init.sql
ports="3306 13306"
for port in $ports; do
    mkdir tmp$port
    mariadb-install-db --no-defaults --user=root --datadir=$W/db$port --tmpdir=$W/tmp$port \
        --auth-root-authentication-method=normal --skip-test-db >log/install 2>&1
done
for port in $ports; do
    bg server mariadbd --no-defaults --user=root --datadir=$W/db$port --tmpdir=$W/tmp$port --port=$port --socket=$W/$port.sock \
        --bind-address='*' --pid-file=$W/$port.pid --init-file=$W/init.sql --skip-name-resolve --innodb-buffer-pool-size=8M \
        --innodb-log-file-size=4M --ssl-cert=$W/tls/db.example.com.crt --ssl-key=$W/tls/db.example.com.key
done
wait_port server tcp 3306 13306

capture pcap
sql() { answer "$1" client mariadb --no-defaults -u alice -psecret -h "${@:2}" d; }
sql '' 198.51.100.55 -e 'create table t(a int, b text); insert into t select seq, repeat("x", seq) from seq_1_to_100'
sql 100 198.51.100.55 -e 'select count(*) from t'
sql xxx 198.51.100.55 --compress -e 'select * from t'
sql 'exist' 198.51.100.55 -P 13306 -e 'select * from absent'
sql 10.11 198.51.100.55 -P 13306 -e 'select version()'
sql 100 2001:db8:2::55 --ssl --ssl-ca=$W/tls/ca.crt -e 'select count(*) from t'
answer 'Access denied' client mariadb --no-defaults -u alice -pwrong -h 198.51.100.55 d -e 'select 1'

truth 6 10.1.0.2 '*' 198.51.100.55 3306 MySQL -
truth 6 10.1.0.2 '*' 198.51.100.55 13306 MySQL -
truth 6 2001:db8:1::2 '*' 2001:db8:2::55 3306 MySQL -
expect 6 'mysql.version' -d tcp.port==13306,mysql
finish
