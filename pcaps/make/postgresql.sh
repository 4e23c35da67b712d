#!/bin/bash
# PostgreSQL: a cluster on 5432 (clear and TLS after SSLRequest) and one on 15432; psql logs in with SCRAM, creates, copies, selects,
# makes a mistake; a wrong password.
PACKAGES="postgresql-15 postgresql-client-15"
. "$(dirname "$0")/lib.sh"

host client 10.1.0.2/24 2001:db8:1::2/64
host server 198.51.100.54/24 2001:db8:2::54/64
make_cert db.example.com
PG=/usr/lib/postgresql/15/bin
echo secret >pwfile
install -d -o postgres db
install -o postgres -m 600 tls/db.example.com.key db.key
install -o postgres tls/db.example.com.crt db.crt
run_as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
run_as $PG/initdb -D db/a -U alice --pwfile=pwfile -A scram-sha-256 -E UTF8 --no-sync >log/initdb
printf 'host all all all scram-sha-256\n' >>db/a/pg_hba.conf
cp -a db/a db/b
start() { # start DIR PORT ARG...
    bg server setpriv --reuid postgres --regid postgres --clear-groups $PG/postgres -D $W/db/$1 -p "$2" \
        -c listen_addresses='*' -c fsync=off -c unix_socket_directories= -c shared_buffers=4MB "${@:3}"
}
start a 5432 -c ssl=on -c ssl_cert_file=$W/db.crt -c ssl_key_file=$W/db.key
start b 15432
wait_port server tcp 5432 15432

capture pcap
sql() { answer "$1" client env PGPASSWORD=secret psql -X "$2" "${@:3}"; }
plain="user=alice dbname=postgres sslmode=disable gssencmode=disable"
sql 'INSERT 0 100' "host=198.51.100.54 $plain" -c 'create table t(a int, b text)' \
    -c "insert into t select i, repeat('x', i) from generate_series(1,100) i"
sql '^ +100' "host=198.51.100.54 $plain" -c 'select count(*) from t'
sql 'does not exist' "host=198.51.100.54 port=15432 $plain" -c 'select * from absent'
sql xxx "host=198.51.100.54 $plain" -c 'copy t to stdout'
sql '^ +100' "host=2001:db8:2::54 user=alice dbname=postgres sslmode=require" -c 'select count(*) from t'
answer 'authentication failed' client env PGPASSWORD=wrong psql "host=198.51.100.54 port=15432 $plain" -c 'select 1'

truth 6 10.1.0.2 '*' 198.51.100.54 5432 PostgreSQL -
truth 6 10.1.0.2 '*' 198.51.100.54 15432 PostgreSQL -
truth 6 2001:db8:1::2 '*' 2001:db8:2::54 5432 PostgreSQL -
expect 4 'pgsql.type == "Ready for query"' -d tcp.port==15432,pgsql
finish
