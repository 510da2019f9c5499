#!lua flags=allow-oom
-- Begins counting anew; answers with the new generation too.
-- The sums' members stay in `changed`: they tell of sums that are gone, until these are counted again.
local after = begin()
if not after then return false end
redis.call('HSET', about, 'cursor', '', 'counted', 0)
redis.call('UNLINK', tallies)
return {after, redis.call('HINCRBY', about, 'generation', 1)}
