#!lua flags=allow-oom
-- Begins counting anew from where the caller says it is; returns nil where it is elsewhere.
-- ARGV from the third on: present cursor, number of events, generation.
if not counts_are_at(3) then return false end
for _, id in ipairs(redis.call('HKEYS', tallies)) do redis.call('ZREM', changed, 't:' .. id) end
redis.call('DEL', tallies)
redis.call('HSET', about, 'cursor', '', 'counted', 0)
redis.call('HINCRBY', about, 'generation', 1)
revision = revision + 1
return written()
