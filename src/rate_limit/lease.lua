-- Leases parts of quotas that nodes share. One call for any number of subjects, atomic as every
-- script is.
--
-- KEYS[i]: the hash of a subject. It has a field for each slot of the minute ('m<slot>') and of the
-- hour ('h<slot>'), with how much was leased in it.
-- ARGV: the windows and the life of a lease in milliseconds, then for each subject eight numbers:
-- the cost that is waited for, how much is wanted, the quotas of minute and hour, the unsynced
-- usage, and what is returned with its two slots.
--
-- A lease counts as used from when it is granted, until its slot's end, the life of the lease and
-- the window have passed. So no window holds more than the quota, whatever is done with the lease at
-- whatever moment of its life. Time is that of Redis, so the clocks of nodes do not matter.
--
-- Replies for each subject: granted, minute slot, hour slot, left of the minute and of the hour,
-- milliseconds until the oldest slot of each leaves, milliseconds until there is room for the cost.
local spans = { m = tonumber(ARGV[1]), h = tonumber(ARGV[2]) }
local lease = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lengths = { m = math.max(1, math.floor(spans.m / 60)), h = math.max(1, math.floor(spans.h / 60)) }
local current = { m = math.floor(now / lengths.m), h = math.floor(now / lengths.h) }

local function field(kind, slot)
    return kind .. string.format('%.0f', slot)
end

local function return_unspent(key, kind, slot, count)
    local name = field(kind, slot)
    local known = tonumber(redis.call('HGET', key, name) or '0')
    if known > count then
        redis.call('HSET', key, name, known - count)
    else
        redis.call('HDEL', key, name)
    end
end

-- What is counted, as a list of {when it leaves, how much} for each window; what has left is removed.
local function read(key)
    local logs, used, stale = { m = {}, h = {} }, { m = 0, h = 0 }, {}
    local fields = redis.call('HGETALL', key)
    for at = 1, #fields, 2 do
        local kind = string.sub(fields[at], 1, 1)
        local leaves = (tonumber(string.sub(fields[at], 2)) + 1) * lengths[kind] + spans[kind] + lease
        local count = tonumber(fields[at + 1])
        if leaves <= now then
            stale[#stale + 1] = fields[at]
        else
            used[kind] = used[kind] + count
            table.insert(logs[kind], { leaves, count })
        end
    end
    if #stale > 0 then
        redis.call('HDEL', key, unpack(stale))
    end
    for _, log in pairs(logs) do
        table.sort(log, function(a, b) return a[1] < b[1] end)
    end
    return logs, used
end

-- In how many milliseconds so much has left that `excess` is gone.
local function free_in(kind, log, excess)
    for _, entry in ipairs(log) do
        if excess <= 0 then
            break
        end
        excess = excess - entry[2]
        if excess <= 0 then
            return entry[1] - now
        end
    end
    return excess > 0 and spans[kind] or 0
end

local answers = {}
for i, key in ipairs(KEYS) do
    local at = 3 + (i - 1) * 8
    local cost, wanted = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local quotas = { m = tonumber(ARGV[at + 3]), h = tonumber(ARGV[at + 4]) }
    local unsynced, returned = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    if returned > 0 then
        return_unspent(key, 'm', tonumber(ARGV[at + 7]), returned)
        return_unspent(key, 'h', tonumber(ARGV[at + 8]), returned)
    end
    local logs, used = read(key)
    local left = { m = quotas.m - used.m - unsynced, h = quotas.h - used.h - unsynced }
    local granted = math.max(0, math.min(wanted, left.m, left.h))
    local added = granted + unsynced
    if added > 0 then
        redis.call('HINCRBY', key, field('m', current.m), added)
        redis.call('HINCRBY', key, field('h', current.h), added)
        redis.call('PEXPIRE', key, spans.h + lengths.h + lease + 1000)
    end
    local function oldest(kind)
        return logs[kind][1] and logs[kind][1][1] - now or spans[kind]
    end
    local retry = math.max(free_in('m', logs.m, cost - left.m), free_in('h', logs.h, cost - left.h))
    answers[i] = {
        granted, current.m, current.h,
        math.max(0, left.m - granted), math.max(0, left.h - granted),
        oldest('m'), oldest('h'), retry,
    }
end
return answers
