#!/usr/bin/env bash
# Records captures/*.pcap with real servers and clients, each in a network namespace of its own on the loopback interface.
#
#   collector/l7/testdata/record/record.sh [NAME...]     all, or those named, as root on Debian 12 with Go
#
# Servers come from Debian; clients and servers that Debian does not have are in this folder's Go module (main.go). What is
# recorded differs in times, ports and random ids from run to run, so new captures need new golden rows:
#   go test ./collector/l7 -run TestCaptures -rewrite
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$here/.." && pwd)/captures
mkdir -p "$out"
work=$(mktemp -d)
chmod 755 "$work"
ns=flrecord$$
pids=()

cleanup() {
	local p
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	ip netns del "$ns" 2>/dev/null || true
	ip netns del "$ns-client" 2>/dev/null || true
	[ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

in_ns() { ip netns exec "$ns" "$@"; }

# serve COMMAND...: a server in the background
serve() {
	ip netns exec "$ns" "$@" >>"$work/servers.log" 2>&1 & # not in_ns: the process itself has to be killed, not a shell around it
	pids+=($!)
}

# until_open PORT: waits until somebody listens there, 30 s at most
until_open() {
	local i
	for i in $(seq 300); do
		if in_ns ss -Hltn "sport = :$1" | grep -q .; then return; fi
		sleep 0.1
	done
	echo "nobody listens on port $1:" >&2
	tail -20 "$work/servers.log" >&2
	exit 1
}

# record NAME FILTER FUNCTION: what FUNCTION does, as NAME.pcap
record() {
	local name=$1 filter=$2 tcpdump i
	ip netns exec "$ns" tcpdump -i "${device:-lo}" -n -s 0 -U --immediate-mode -Z root -B 8192 -w "$work/$name.pcap" "$filter" 2>"$work/tcpdump.log" &
	tcpdump=$!
	pids+=("$tcpdump")
	for i in $(seq 100); do
		grep -q 'listening on' "$work/tcpdump.log" && break
		sleep 0.05
	done
	"$3" >"$work/$name.log" 2>&1 || { echo "$name:" >&2; tail -20 "$work/$name.log" >&2; exit 1; }
	sleep 0.3 # for what is still on its way
	kill -TERM "$tcpdump"
	wait "$tcpdump" || true
	mv "$work/$name.pcap" "$out/$name.pcap"
	chmod 644 "$out/$name.pcap"
	echo "$name: $(stat -c %s "$out/$name.pcap") bytes"
}

go_client() { in_ns "$work/record" "$@"; }

trace='traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

# --- web ---
start_nginx() {
	[ -e "$work/nginx.conf" ] && return
	mkdir -p "$work/www" && echo '<p>hello</p>' >"$work/www/index.html" && seq 1 4000 >"$work/www/numbers.txt"
	openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=shop.test -addext subjectAltName=DNS:shop.test \
		-keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
	printf '#!/bin/sh\nprintf "Status: 201 Created\\r\\nContent-Type: text/plain\\r\\n\\r\\n"; cat\n' >"$work/www/add.cgi"
	printf '#!/bin/sh\nprintf "Status: 503 Service Unavailable\\r\\n\\r\\n"\n' >"$work/www/fail.cgi"
	chmod -R a+rX "$work" && chmod +x "$work"/www/*.cgi
	cat >"$work/nginx.conf" <<-CONF
		daemon off; worker_processes 1; pid $work/nginx.pid; error_log $work/nginx.log; user root;
		events {}
		http {
			access_log off; root $work/www; server_tokens off;
			server { listen 8080; location /fail { return 500; } }
			server { listen 8081 http2; location /fail { return 500; } }
			server { listen 8443 ssl http2; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem; }
			server { listen 8082; location / { include /etc/nginx/fastcgi_params; fastcgi_param HTTP_TRACEPARENT \$http_traceparent;
				fastcgi_param SCRIPT_FILENAME $work/www\$fastcgi_script_name; fastcgi_pass 127.0.0.1:9000; } }
		}
	CONF
	serve nginx -c "$work/nginx.conf"
	serve spawn-fcgi -n -a 127.0.0.1 -p 9000 -- /usr/sbin/fcgiwrap
	until_open 8443
	until_open 9000
}
do_http1() {
	in_ns curl -sS -H "$trace" -H 'X-Request-ID: r-1' http://127.0.0.1:8080/ http://127.0.0.1:8080/numbers.txt 'http://127.0.0.1:8080/missing?q=1'
	in_ns curl -sS -I http://127.0.0.1:8080/
	seq 1 500 | in_ns curl -sS -T - http://127.0.0.1:8080/fail/put
	printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /missing HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' | in_ns nc -N 127.0.0.1 8080
}
do_http2() {
	in_ns curl -sS --http2-prior-knowledge -H "$trace" http://127.0.0.1:8081/ http://127.0.0.1:8081/missing http://127.0.0.1:8081/fail
	in_ns nghttp -n http://127.0.0.1:8081/numbers.txt http://127.0.0.1:8081/ http://127.0.0.1:8081/missing
	in_ns nghttp -n -u http://127.0.0.1:8081/ || true # asks for an upgrade, which this server does not do
}
do_tls() {
	in_ns curl -sS -k --resolve shop.test:8443:127.0.0.1 https://shop.test:8443/
	in_ns curl -sS -k --tls-max 1.2 --resolve shop.test:8443:127.0.0.1 https://shop.test:8443/
	! in_ns curl -sS --resolve shop.test:8443:127.0.0.1 https://shop.test:8443/ || return 1 # does not trust the certificate
}
do_fastcgi() {
	in_ns curl -sS -H "$trace" -d item=7 http://127.0.0.1:8082/add.cgi
	in_ns curl -sS 'http://127.0.0.1:8082/fail.cgi?x=1'
}
rec_http1() { start_nginx; record http1 'port 8080' do_http1; }
rec_http2() { start_nginx; record http2 'port 8081' do_http2; }
rec_tls() { start_nginx; record tls 'port 8443' do_tls; }
rec_fastcgi() { start_nginx; record fastcgi 'port 9000' do_fastcgi; }
rec_websocket() { record websocket 'port 8090' do_websocket; }
do_websocket() { go_client websocket; }
rec_grpc() { record grpc 'port 50051' do_grpc; }
do_grpc() { go_client grpc; }

# --- SQL ---
start_mariadb() {
	[ -e "$work/mariadb" ] && return
	mkdir "$work/mariadb" && chown mysql "$work/mariadb"
	mariadb-install-db --no-defaults --user=mysql --datadir="$work/mariadb" --auth-root-authentication-method=socket >/dev/null
	serve mariadbd --no-defaults --user=mysql --datadir="$work/mariadb" --socket="$work/mariadb/s" --bind-address=127.0.0.1 --port=3306 --innodb-flush-log-at-trx-commit=0
	until_open 3306
	in_ns mariadb -S "$work/mariadb/s" -e "CREATE DATABASE shop; CREATE USER app@localhost IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO app@localhost"
}
do_mysql() {
	in_ns mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -u app -psecret shop -e "
		CREATE TABLE orders (id INT PRIMARY KEY, name VARCHAR(20));
		INSERT INTO orders VALUES (1, 'one'), (2, 'two'), (3, 'three');
		SELECT /* traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' */ * FROM orders WHERE name = 'two';
		UPDATE orders SET name = 'x' WHERE id > 1; DELETE FROM orders WHERE id = 3"
	! in_ns mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -u app -psecret shop -e 'SELECT * FROM missing' || return 1
	! in_ns mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -u app -pwrong shop -e 'SELECT 1' || return 1
	in_ns mariadb --no-defaults --protocol=tcp --compress -h 127.0.0.1 -u app -psecret shop -e "SELECT REPEAT('a', 5000); SELECT 1"
	go_client mysql
}
rec_mysql() { start_mariadb; record mysql 'port 3306' do_mysql; }
start_postgres() {
	[ -e "$work/postgres" ] && return
	local bin
	bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
	mkdir "$work/postgres" && chown postgres "$work/postgres"
	echo secret >"$work/pgpass"
	chmod 644 "$work/pgpass"
	(cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$bin/initdb" -D "$work/postgres/data" -U app -A scram-sha-256 --pwfile="$work/pgpass" >/dev/null)
	serve setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres" -D "$work/postgres/data" -h 127.0.0.1 -p 5432 -k "$work/postgres" -c fsync=off
	until_open 5432
}
do_postgresql() {
	export PGPASSWORD=secret PGSSLMODE=disable
	in_ns psql -X -h 127.0.0.1 -U app postgres -c "CREATE TABLE orders (id int PRIMARY KEY, name text)" -c "INSERT INTO orders VALUES (1, 'one'), (2, 'two')" \
		-c "SELECT * FROM orders WHERE name = 'two'; UPDATE orders SET name = 'x'" -c 'COPY orders TO STDOUT'
	seq 10 400 | sed 's/$/\tn/' | in_ns psql -X -h 127.0.0.1 -U app postgres -c 'COPY orders FROM STDIN'
	! in_ns psql -X -h 127.0.0.1 -U app postgres -c 'SELECT * FROM missing' || return 1
	! PGPASSWORD=wrong in_ns psql -X -h 127.0.0.1 -U app postgres -c 'SELECT 1' || return 1
	PGSSLMODE=prefer in_ns psql -X -h 127.0.0.1 -U app postgres -c 'SELECT 1'
	go_client postgresql
}
rec_postgresql() { start_postgres; record postgresql 'port 5432' do_postgresql; }

# --- stores ---
start_redis() { serve redis-server --port 6379 --bind 127.0.0.1 --save '' --appendonly no; until_open 6379; }
do_redis() {
	in_ns redis-cli set user:1 'Ada L'; in_ns redis-cli get user:1; in_ns redis-cli get missing; in_ns redis-cli -3 hset h f1 v1 f2 v2
	in_ns redis-cli -3 hgetall h; in_ns redis-cli lpush user:1 x; in_ns redis-cli nonsense a b
	printf 'MULTI\r\nINCR n\r\nINCR n\r\nEXEC\r\nMGET user:1 n missing\r\n' | in_ns nc -N 127.0.0.1 6379
	seq 1 200 | sed 's/.*/SET k& v&\r/' | in_ns redis-cli --pipe >/dev/null
	{ timeout 1 ip netns exec "$ns" redis-cli subscribe news || true; } & sleep 0.4
	in_ns redis-cli publish news hello; wait $!
	printf 'PING\r\nGET user:1\r\n' | in_ns nc -N 127.0.0.1 6379
}
rec_redis() { start_redis; record redis 'port 6379' do_redis; }
do_memcached() {
	printf 'set a 0 60 5\r\nhello\r\nget a b\r\nincr a 1\r\nadd a 0 0 1\r\nx\r\ndelete a\r\nget a\r\nset q 0 0 1 noreply\r\nz\r\nmg q v\r\nstats nosuch\r\nbogus\r\nversion\r\nquit\r\n' | in_ns nc -N 127.0.0.1 11211
	echo 'a text' >"$work/note"
	in_ns memccp --binary --servers=127.0.0.1:11211 "$work/note"
	in_ns memccat --binary --servers=127.0.0.1:11211 note
	in_ns memcrm --binary --servers=127.0.0.1:11211 note
	! in_ns memccat --binary --servers=127.0.0.1:11211 note || true
}
rec_memcached() { serve memcached -u nobody -l 127.0.0.1 -p 11211; until_open 11211; record memcached 'port 11211' do_memcached; }

# --- queues ---
do_mqtt() {
	{ timeout 4 ip netns exec "$ns" mosquitto_sub -V mqttv5 -i reader -q 2 -t 'sensors/#' -C 3 || true; } & local sub=$!
	sleep 0.5
	in_ns mosquitto_pub -i writer0 -q 0 -t sensors/a -m '21.5'
	in_ns mosquitto_pub -i writer1 -q 1 -V mqttv311 -t sensors/b -m '22.5'
	in_ns mosquitto_pub -i writer2 -q 2 -V mqttv5 -D publish user-property traceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 -t sensors/c -m '23.5'
	wait "$sub"
	in_ns mosquitto_pub -i old -V mqttv31 -t sensors/d -m x
	! in_ns mosquitto_pub -i liar -u app -P wrong -t sensors/e -m x || return 1
}
rec_mqtt() {
	printf 'listener 1883 127.0.0.1\nallow_anonymous true\npassword_file %s/passwords\nlog_dest stdout\n' "$work" >"$work/mosquitto.conf"
	mosquitto_passwd -b -c "$work/passwords" app right && chmod 644 "$work/passwords"
	serve mosquitto -c "$work/mosquitto.conf"
	until_open 1883
	record mqtt 'port 1883' do_mqtt
}
do_amqp() { go_client amqp; }
rec_amqp() {
	mkdir -p "$work/rabbit"
	serve env HOME="$work/rabbit" RABBITMQ_MNESIA_BASE="$work/rabbit" RABBITMQ_LOG_BASE="$work/rabbit" RABBITMQ_NODENAME=rec@localhost \
		RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_ENABLED_PLUGINS_FILE=/dev/null RABBITMQ_PID_FILE="$work/rabbit/pid" /usr/lib/rabbitmq/bin/rabbitmq-server
	until_open 5672
	record amqp 'port 5672' do_amqp
}
do_nats() { go_client nats; }
rec_nats() { serve nats-server -a 127.0.0.1 -p 4222; until_open 4222; record nats 'port 4222' do_nats; }
do_kafka() { go_client kafka; }
rec_kafka() { record kafka 'port 9092' do_kafka; }
do_zmtp() { go_client zmtp; }
rec_zmtp() { record zmtp 'port 5555' do_zmtp; }

# --- calls ---
# java_client NAME: server and client in Java; they look into the JDK's classes
java_client() {
	local p opens=()
	for p in java.lang java.lang.reflect java.util java.util.concurrent java.util.concurrent.atomic java.util.regex java.text java.math java.net java.io java.nio java.time sun.nio.ch sun.util.calendar; do
		opens+=(--add-opens "java.base/$p=ALL-UNNAMED")
	done
	in_ns java -Djava.net.preferIPv4Stack=true "${opens[@]}" -cp "$work/java/classes:$(cat "$work/java/classpath")" shop.Record "$1"
}
build_java() {
	[ -e "$work/java/classpath" ] && return
	dpkg -s maven default-jdk-headless >/dev/null 2>&1 || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends maven default-jdk-headless >/dev/null
	mkdir -p "$work/java"
	mvn -q -B -f "$here/java/pom.xml" -DbuildDirectory="$work/java" dependency:build-classpath -Dmdep.outputFile="$work/java/classpath" >/dev/null
	javac -encoding UTF-8 -nowarn -d "$work/java/classes" -cp "$(cat "$work/java/classpath")" "$here"/java/src/main/java/shop/*.java
}
do_dubbo() { java_client dubbo; }
rec_dubbo() { build_java; record dubbo 'portrange 20880-20883' do_dubbo; }
do_sofarpc() { java_client sofarpc; }
rec_sofarpc() { build_java; record sofarpc 'port 12200' do_sofarpc; }
do_brpc() { java_client brpc; }
rec_brpc() { build_java; record brpc 'port 8002' do_brpc; }
do_thrift() { go_client thrift; }
rec_thrift() { record thrift 'portrange 9090-9094' do_thrift; }

# --- services of a network ---
do_dns() {
	local type
	for type in A AAAA MX TXT SRV PTR; do in_ns dig @127.0.0.1 +tries=1 +noall "$type" shop.test; done
	in_ns dig @127.0.0.1 +noall missing.test; in_ns dig @127.0.0.1 +noall +tcp A shop.test; in_ns dig @127.0.0.1 +noall +noedns -x 10.0.0.7
}
rec_dns() {
	serve dnsmasq --keep-in-foreground --no-resolv --no-hosts --listen-address=127.0.0.1 --bind-interfaces --address=/shop.test/10.0.0.7 --local=/test/ \
		--mx-host=shop.test,mail.test,10 --txt-record=shop.test,hello --srv-host=shop.test,web.test,8080 --ptr-record=7.0.0.10.in-addr.arpa,shop.test --user=root
	for _ in $(seq 100); do in_ns ss -Hlun 'sport = :53' | grep -q . && break; sleep 0.1; done
	record dns 'port 53' do_dns
}
do_ldap() {
	local b=(-x -H ldap://127.0.0.1 -D cn=admin,dc=shop,dc=test -w secret)
	printf 'dn: dc=shop,dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: shop\no: Shop\n\ndn: cn=ada,dc=shop,dc=test\nobjectClass: person\ncn: ada\nsn: L\n' | in_ns ldapadd "${b[@]}"
	in_ns ldapsearch "${b[@]}" -b dc=shop,dc=test '(&(objectClass=person)(cn=a*))' sn
	! in_ns ldapsearch "${b[@]}" -b dc=nowhere,dc=test || return 1
	! in_ns ldapwhoami -x -H ldap://127.0.0.1 -D cn=admin,dc=shop,dc=test -w wrong || return 1
	in_ns ldapdelete "${b[@]}" cn=ada,dc=shop,dc=test
}
rec_ldap() {
	mkdir -p "$work/ldap"
	cat >"$work/slapd.conf" <<-CONF
		include /etc/ldap/schema/core.schema
		modulepath /usr/lib/ldap
		moduleload back_mdb
		pidfile $work/ldap/pid
		database mdb
		suffix dc=shop,dc=test
		rootdn cn=admin,dc=shop,dc=test
		rootpw secret
		directory $work/ldap
	CONF
	serve slapd -d 0 -f "$work/slapd.conf" -h ldap://127.0.0.1
	until_open 389
	record ldap 'port 389' do_ldap
}
do_smtp() {
	printf 'From: a@shop.test\nTo: b@shop.test\nSubject: hi\n\nhello\n.\nthere\n' >"$work/mail"
	in_ns curl -sS --url smtp://127.0.0.1:2525/client.test --mail-from a@shop.test --mail-rcpt root@localhost --upload-file "$work/mail"
	! in_ns curl -sS --url smtp://127.0.0.1:2525/client.test --mail-from a@shop.test --mail-rcpt b@elsewhere.example --upload-file "$work/mail" || return 1
}
rec_smtp() {
	printf 'table aliases file:/etc/aliases\nlisten on 127.0.0.1 port 2525 hostname mx.test\naction keep maildir "%s/mails"\nmatch for local action keep\n' "$work" >"$work/smtpd.conf"
	touch /etc/aliases
	serve smtpd -d -f "$work/smtpd.conf"
	until_open 2525
	record smtp 'port 2525' do_smtp
}
do_ntp() { in_ns ntpdate -q 127.0.0.1 || in_ns ntpdig 127.0.0.1; }
rec_ntp() {
	printf 'local stratum 8\nallow 127.0.0.0/8\ncmdport 0\nbindcmdaddress /dev/null\npidfile %s/chrony.pid\ndriftfile %s/drift\n' "$work" "$work" >"$work/chrony.conf"
	serve chronyd -d -x -u root -f "$work/chrony.conf"
	for _ in $(seq 100); do in_ns ss -Hlun 'sport = :123' | grep -q . && break; sleep 0.1; done
	sleep 1
	record ntp 'port 123' do_ntp
}
do_dhcp() {
	local c=(ip netns exec "$ns-client" dhclient -1 -sf /bin/true -lf "$work/leases" -pf "$work/dhclient.pid" client0)
	"${c[@]}"
	"${c[@]:0:5}" -r "${c[@]:5}" # and the daemon ends
}
rec_dhcp() { # a client without an address, on the other end of a cable
	ip netns add "$ns-client"
	in_ns ip link add server0 type veth peer name client0 netns "$ns-client"
	in_ns ip addr add 10.9.0.1/24 dev server0
	in_ns ip link set server0 up
	ip netns exec "$ns-client" ip link set client0 up
	serve dnsmasq --keep-in-foreground --port=0 --interface=server0 --bind-dynamic --dhcp-range=10.9.0.10,10.9.0.20,1h --dhcp-leasefile="$work/dnsmasq.leases" --user=root
	for _ in $(seq 100); do in_ns ss -Hlun 'sport = :67' | grep -q . && break; sleep 0.1; done
	device=server0 record dhcp 'port 67 or port 68' do_dhcp
	ip netns del "$ns-client"
}
do_ping() { in_ns ping -c 3 -i 0.2 -W 1 127.0.0.1; }
rec_ping() { record ping icmp do_ping; }

all=(http1 http2 tls fastcgi websocket grpc mysql postgresql redis memcached mqtt amqp nats kafka zmtp dns ldap smtp ntp ping dubbo sofarpc brpc thrift dhcp)
packages=(tcpdump iproute2 nghttp2-client iputils-ping netcat-openbsd nginx-light curl openssl spawn-fcgi fcgiwrap redis-server redis-tools memcached libmemcached-tools
	mosquitto mosquitto-clients mariadb-server mariadb-client postgresql rabbitmq-server nats-server dnsmasq-base dnsutils slapd ldap-utils
	opensmtpd chrony ntpsec-ntpdate isc-dhcp-client)
[ "$(id -u)" -eq 0 ] || { echo 'record.sh needs root: it makes a network namespace' >&2; exit 1; }
wanted=("$@")
[ $# -gt 0 ] || wanted=("${all[@]}")
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
	apt-get update -qq
	# servers must not start by themselves
	policy=/usr/sbin/policy-rc.d
	[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; trap 'rm -f "$policy"; cleanup' EXIT; }
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
(cd "$here" && go build -o "$work/record" .)
ip netns add "$ns"
in_ns ip link set lo up
for name in "${wanted[@]}"; do
	declare -F "rec_$name" >/dev/null || { echo "nothing is called $name; there are: ${all[*]}" >&2; exit 2; }
	"rec_$name"
done
