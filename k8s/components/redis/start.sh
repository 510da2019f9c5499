# The password comes by standard input, so that it stands in no file and no list of processes.
set -eu
tls=/etc/homepage/tls
if [ -f "$tls/tls.crt" ]; then
  set -- --port 0 --tls-port 6379 --tls-cert-file "$tls/tls.crt" --tls-key-file "$tls/tls.key" --tls-ca-cert-file "$tls/ca.crt"
fi
exec redis-server /etc/redis/redis.conf "$@" - <<END
requirepass "$REDIS_PASSWORD"
END
