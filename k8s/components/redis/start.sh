# Of the password a hash comes by standard input: it stands in no file and no list of processes, and needs no quoting.
set -eu
: "${REDIS_PASSWORD:?the Secret redis has an empty password}"
tls=/etc/homepage/tls
if [ -f "$tls/tls.crt" ]; then
  set -- --port 0 --tls-port 6379 --tls-cert-file "$tls/tls.crt" --tls-key-file "$tls/tls.key" --tls-ca-cert-file "$tls/ca.crt"
fi
exec redis-server /etc/redis/redis.conf "$@" - <<END
user default on ~* &* +@all #$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
END
