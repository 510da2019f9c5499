#!lua flags=allow-oom
-- Makes a library where there is none.
-- KEYS: prefix of all keys. ARGV: id for a new library, its schema version.
-- Returns the server's run_id, and the library's schema version (nil where the keys are something else's), id, revision.
local prefix = KEYS[1]
local about = prefix .. 'about'

if redis.call('EXISTS', about, prefix .. 'items', prefix .. 'vectors', prefix .. 'tallies', prefix .. 'changed') == 0 then
  redis.call('HSET', about, 'library_id', ARGV[1], 'schema', ARGV[2], 'revision', 0, 'cleared_to', 0)
  redis.call('HSET', about, 'cursor', '', 'counted', 0, 'generation', 0)
end
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
return {run_id, unpack(redis.call('HMGET', about, 'schema', 'library_id', 'revision'))}
