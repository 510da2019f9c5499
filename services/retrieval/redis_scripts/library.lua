-- Stands at the head of every script but open.lua.
-- KEYS: prefix of all keys. ARGV: id of the library that the caller has loaded, run_id of the server it was loaded from,
-- the revision up to which the caller knows it.
--
-- `changed` is a sorted set of what has ever changed, by the revision of its latest change: "i:" with an item's id,
-- "v:" its vector, "t:" its popularity sum. An item or a sum that has gone leaves its member there as a tombstone, so
-- that others learn of it; `gone` has the tombstones by the time (unix seconds) they were set up.
-- A change is noted before it is made: a script that fails half-way leaves nothing that others never learn of.
local prefix, known = KEYS[1], tonumber(ARGV[3])
local about, items, vectors, tallies = prefix .. 'about', prefix .. 'items', prefix .. 'vectors', prefix .. 'tallies'
local changed, gone = prefix .. 'changed', prefix .. 'gone'
local KEPT_S = 86400 -- a replica that was cut off for longer has to load the library anew

local before = tonumber(redis.call('HGET', about, 'revision') or -1)
local revision = before

if redis.call('HGET', about, 'library_id') ~= ARGV[1] then
  return redis.error_reply('OTHERLIBRARY its id is another one')
end
-- A server that started anew may have begun with an older copy, and have got other changes since.
if string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') ~= ARGV[2] then
  return redis.error_reply('OTHERLIBRARY the server has started anew')
end
if before < known then return redis.error_reply('OTHERLIBRARY it lacks changes that were known') end

-- Begins a write: the revision after it, or false where the caller does not know all that is there.
-- Each argument makes one change at most, and every change has a revision of its own, so that a page of changes can end
-- anywhere. A write that changes nothing moves the revision too: one that was sent before it can not take effect after.
local function begin()
  if before ~= known then return false end
  return redis.call('HINCRBY', about, 'revision', #ARGV)
end

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
