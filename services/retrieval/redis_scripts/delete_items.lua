#!lua flags=allow-oom
-- Removes items and their vectors. ARGV from the fourth on: ids.
local after = begin()
if not after then return false end
for first = 4, #ARGV do
  local id = ARGV[first]
  if redis.call('HEXISTS', items, id) == 1 then
    bury('i:' .. id)
    redis.call('HDEL', items, id)
    redis.call('HDEL', vectors, id)
    redis.call('ZREM', changed, 'v:' .. id)
  end
end
return {after}
