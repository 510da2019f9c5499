-- Stands at the head of every script but open.lua.
-- KEYS: prefix of all keys. ARGV: id of the library that the caller has loaded, the revision up to which it knows it.
--
-- `changed` is a sorted set of what has ever changed, by the revision of its latest change: "i:" with an item's id,
-- "v:" its vector, "t:" its popularity sum. An item or a sum that has gone leaves its member there as a tombstone, so
-- that others learn of it; `gone` has the tombstones by the time (unix seconds) they were set up.
local prefix, known = KEYS[1], tonumber(ARGV[2])
local about, items, vectors, tallies = prefix .. 'about', prefix .. 'items', prefix .. 'vectors', prefix .. 'tallies'
local changed, gone = prefix .. 'changed', prefix .. 'gone'
local KEPT_S = 86400 -- a replica that was cut off for longer has to load the library anew

local before = tonumber(redis.call('HGET', about, 'revision') or -1)
local revision = before

if redis.call('HGET', about, 'library_id') ~= ARGV[1] or before < known then
  return redis.error_reply('OTHERLIBRARY the library is not the one that was loaded')
end

-- Every change has a revision of its own, so that a page of changes can end anywhere.
local function note(member)
  revision = revision + 1
  redis.call('ZADD', changed, revision, member)
end

-- Each new tombstone makes room of up to two that are old enough.
local function bury(member)
  local now = tonumber(redis.call('TIME')[1])
  for _, old in ipairs(redis.call('ZRANGE', gone, '-inf', now - KEPT_S, 'BYSCORE', 'LIMIT', 0, 2)) do
    local buried_at = tonumber(redis.call('ZSCORE', changed, old))
    local cleared = tonumber(redis.call('HGET', about, 'cleared_to'))
    if buried_at > cleared then redis.call('HSET', about, 'cleared_to', buried_at) end
    redis.call('ZREM', changed, old)
    redis.call('ZREM', gone, old)
  end
  note(member)
  redis.call('ZADD', gone, now, member)
end

local function revive(member)
  note(member)
  redis.call('ZREM', gone, member)
end

-- Whether counting is still where ARGV from `first` on says: cursor, number of events, generation.
local function counts_are_at(first)
  local at = redis.call('HMGET', about, 'cursor', 'counted', 'generation')
  return at[1] == ARGV[first] and at[2] == ARGV[first + 1] and at[3] == ARGV[first + 2]
end

-- The script's answer: the revisions before and after it.
local function written()
  redis.call('HSET', about, 'revision', revision)
  return {before, revision}
end
