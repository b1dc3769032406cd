-- What every script knows: whose keys it works on, what time it is, and how a number is written so that it sorts.
--
-- KEYS has two keys for each shard that is served: its lease, which every shard in use has, and its ghost, which
-- nothing ever writes. ARGV[1] holds one list of arguments for each. Because one of the two is there and the other
-- is not, a cluster that is moving the slot from node to node refuses the call instead of running half of it.
--
-- Its keys are named in instance.lua and mailbox.lua, and:
--
--   lease        hash      epoch, owner, until, newest token, series, life; how many have arrived, and were sent
--   kept         string    what move the shard is kept for, if it is
--   deaths       hash      suspect -> deaths in a row
--   accused, accused_before    hash    suspect -> place, in this life and in the one before
--   names        hash      claimed name -> who holds it until when
--   queues       set       queues with permits
--   permits:QUEUE    sorted    until .. at .. number

local call, pack, unpack_record = redis.call, cmsgpack.pack, cmsgpack.unpack

local shard    -- the prefix of the shard that is served, such as perdure:{3-17}:
local serve    -- what the script does for one shard
local prepare  -- what it looks at in all shards before it writes anything; most scripts have none
local finish   -- what it writes at the end for one shard
local is_guarded  -- whether nothing is done to a shard that is kept for a move; the answer is {'kept', what for} then

local time = call('TIME')
local now = time[1] * 1000000 + time[2]

-- Numbers are passed and kept as 16 hexadecimal digits of number + 2^63, which Lua and sorted sets compare as text.
local function hex(number) return string.format('8%015x', number) end

local NEVER = 'ffffffffffffffff'
