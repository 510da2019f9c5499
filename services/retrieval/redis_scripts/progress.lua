#!lua flags=no-writes
-- How far the event log has been counted: cursor, number of events, generation.
return redis.call('HMGET', about, 'cursor', 'counted', 'generation')
