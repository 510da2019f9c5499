#!lua
-- Replaces a user's interests by sums of another edition, unless events came in meanwhile.
-- KEYS: prefix of all keys. ARGV: user, version that was summed up, edition; then category and sums for each interest.
local prefix, name, version, edition = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local user = prefix .. 'user:' .. name

if redis.call('HGET', user, 'version') ~= version then return 0 end
local interests = prefix .. 'interests:' .. redis.call('HGET', user, 'subject')
redis.call('DEL', interests)
for first = 4, #ARGV, 2 do redis.call('HSET', interests, ARGV[first], ARGV[first + 1]) end
redis.call('HSET', user, 'edition', edition)
return 1
