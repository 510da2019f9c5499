set -eu
tls=/etc/homepage/tls
if [ -f "$tls/tls.crt" ]; then
  set -- --tls --cert "$tls/tls.crt" --key "$tls/tls.key" --cacert "$tls/ca.crt"
fi
REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli "$@" ping | grep -q PONG
