-- Says whose store this is; the first node's word stands. Answers format, digest and secret.
--
-- KEYS: the identity. ARGV: format, digest, and the secret, if it was made here.

if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], 'format', ARGV[1], 'digest', ARGV[2])
    if ARGV[3] then
        redis.call('HSET', KEYS[1], 'secret', ARGV[3])
    end
end
return redis.call('HMGET', KEYS[1], 'format', 'digest', 'secret')
