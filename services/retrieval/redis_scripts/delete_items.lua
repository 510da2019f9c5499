#!lua flags=allow-oom
-- Removes items and their vectors. ARGV from the third on: ids.
for first = 3, #ARGV do
  local id = ARGV[first]
  if redis.call('HDEL', items, id) == 1 then
    redis.call('HDEL', vectors, id)
    redis.call('ZREM', changed, 'v:' .. id)
    bury('i:' .. id)
  end
end
return written()
