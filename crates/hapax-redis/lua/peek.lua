-- Reads a record, and the clock it is to be judged by.
--
-- KEYS: the record. ARGV: clock_offset.

return { text(clock(ARGV[1])), redis.call('HGETALL', KEYS[1]) }
