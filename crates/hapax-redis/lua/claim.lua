-- machine::claim: 'granted' and the lease, or 'held' and what stands.
--
-- KEYS: the record. ARGV: clock_offset, attempt, fingerprint, route, term, reclaim_after,
-- attempts_max, unknown_retention; those that are empty are not there. And '1' if the answer is waited
-- for.

local key, clock_offset = KEYS[1], ARGV[1]
local attempt, fingerprint = ARGV[2], ARGV[3]
local now = clock(clock_offset)

local found = redis.call(
    'HMGET', key, 'phase', 'moment', 'expires_at', 'unknown_retention', 'attempt', 'fingerprint',
    'attempts', 'attempts_max', 'claimed_at', 'reclaim_after', 'fence', 'waited')
local phase, moment, stands_attempt, attempts = found[1], found[2], found[5], found[7]
local fence = found[11]

local means = 'absent'
if phase then
    means = meaning(phase, moment, found[3], found[4], now)
end
local same, again = found[6] == fingerprint, stands_attempt == attempt

-- What is shown without a write of its own is to last as well.
local function wait_for_it()
    if ARGV[9] == '1' then
        touch(key, phase, moment, found[3], found[4], clock_offset)
    end
end

if means == 'running' and same and again then
    wait_for_it()
    local lease = redis.call('HMGET', key, 'rerun_of', 'progress')
    return { 'granted', attempts, found[9], fence, moment, lease[1], lease[2] }
end

local grant = means == 'absent' or means == 'expired'
if same and not again then
    grant = grant or means == 'released'
    if means == 'lapsed' or means == 'in_doubt' then
        grant = found[8] and tonumber(attempts) < tonumber(found[8])
            and found[9] + found[10] <= now
    end
end

if not grant then
    -- Who is held for this reason waits for the end: it is to be told. Nothing depends on that.
    if same and not found[12] and means ~= 'completed' and means ~= 'released' then
        redis.pcall('HSET', key, 'waited', '1')
    end
    wait_for_it()
    return { 'held', text(now), redis.call('HGETALL', key) }
end

-- What has expired lends the next record its fence, and nothing else.
local number, created_at, history = '1', text(now), false
local rerun_of, progress, waited = false, false, false
if means ~= 'absent' and means ~= 'expired' then
    local continued = redis.call('HMGET', key, 'created_at', 'history', 'status', 'progress')
    number = text(math.min(attempts + 1, 4294967295))
    created_at, history = continued[1], continued[2]
    -- Who was held for the attempt before may wait still.
    waited = found[12]
    if means == 'released' then
        rerun_of = continued[3]
    else
        progress = continued[4]
    end
end
local next_fence = text(now)
if fence and fence + 1 > now then
    next_fence = text(fence + 1)
end
local lapses_at = now + ARGV[5]

local fields = {
    'phase', 'in_progress', 'moment', text(lapses_at), 'attempt', attempt, 'attempts', number,
    'claimed_at', text(now), 'created_at', created_at, 'fence', next_fence,
    'fingerprint', fingerprint, 'history', remember(history, now, number, '\0'), 'route', ARGV[4],
}
local function put(name, value)
    if value and value ~= '' then
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
end
put('reclaim_after', ARGV[6])
put('attempts_max', ARGV[7])
put('unknown_retention', ARGV[8])
put('rerun_of', rerun_of)
put('waited', waited)
if progress then
    fields[#fields + 1] = 'progress'
    fields[#fields + 1] = progress
end

if phase then
    redis.call('DEL', key)
end
redis.call('HSET', key, unpack(fields))
if ARGV[8] ~= '' then
    expire_at(key, lapses_at + ARGV[8], clock_offset)
end
return { 'granted', number, text(now), next_fence, text(lapses_at), rerun_of, progress }
