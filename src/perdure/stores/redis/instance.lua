-- The rows of one instance, and the indexes that lead to it.
--
--   heads        hash      id -> what turns look at: {execution, generation, sequence, updated, flags}
--   facts        hash      id -> what they seldom do: {entries of `find`, head as JSON, parent's call, claimed names}
--   w:ID         hash      number -> wait
--   l:ID         list      segments, each behind its sequence
--   m:ID         hash      key -> mail, behind its number of arrival and the time of its sending
--   s:ID         sorted    seen ids by when they were seen
--   p:ID         hash      what is published, by name
--   a:ID, o:ID   hash, sorted   answers by name; their names by when they came
--   y:ID         hash      streams: GENERATION:NUMBER -> name
--   i:GENERATION:NUMBER:ID   list   items of one stream
--   find:...     sorted    place .. ID of instances that have something in common
--   live         sorted    unfinished instances that are no entities
--   mail         sorted    unfinished instances that have mail
--   due          sorted    due .. ID .. \0 .. number .. kind, of waits of unfinished instances, as the next four are
--   calls, queue sorted    ID .. \0 .. number
--   offers, offers:NAME    sorted   from when on .. ID .. \0 .. number
--   claims, claims:NAME    sorted   until when .. ID .. \0 .. number

local EXECUTION, GENERATION, SEQUENCE, UPDATED, FLAGS = 1, 2, 3, 4, 5
local ENTRIES, JSON, PARENT_CALL, NAMES = 1, 2, 3, 4
local KIND, NAME, STATE, ATTEMPT, DUE, SINCE = 1, 2, 3, 4, 5, 6
local TOKEN, CLAIMED_BY, CLAIMED_UNTIL, DETAILS, ON = 7, 8, 9, 10, 11
local LAPSES = 13

-- Heads, facts and entries of indexes that a call changes are gathered and written at its end, each index with one
-- command, because a command costs more than what it does. So a script reads an index before it changes it. Heads are
-- kept apart from facts because Lua hashes every byte that it reads.
local heads, facts = {hash = 'heads', read = {}, written = {}}, {hash = 'facts', read = {}, written = {}}
local changes = {}
local AT_ONCE = 2000  -- arguments of one command; Lua unpacks no more than about 8,000

local function in_parts(command, key, arguments, take)
  for from = 1, #arguments, AT_ONCE do
    local found = call(command, key, unpack(arguments, from, math.min(from + AT_ONCE - 1, #arguments)))
    if take then
      for place = 1, #found do take(from + place - 1, found[place]) end
    end
  end
end

local function read(kept, id)
  if kept.read[id] == nil then
    local packed = call('HGET', shard .. kept.hash, id)
    kept.read[id] = packed and unpack_record(packed)
  end
  return kept.read[id]
end

-- Read many with one command, for those that ask for one after the other.
local function read_all(kept, ids)
  in_parts('HMGET', shard .. kept.hash, ids, function(place, packed)
    kept.read[ids[place]] = packed and unpack_record(packed)
  end)
end

local function write(kept, id, record) kept.read[id], kept.written[id] = record, true end

local function flush(kept)
  local fields = {}
  for id in pairs(kept.written) do
    fields[#fields + 1] = id
    fields[#fields + 1] = pack(kept.read[id])
  end
  in_parts('HSET', shard .. kept.hash, fields)
  kept.read, kept.written = {}, {}
end

local function read_head(id) return read(heads, id) end
local function write_head(id, head) write(heads, id, head) end
local function read_facts(id) return read(facts, id) end
local function write_facts(id, found) write(facts, id, found) end

local function delete_head(id)
  for _, kept in ipairs({heads, facts}) do
    kept.read[id], kept.written[id] = false, nil
    call('HDEL', shard .. kept.hash, id)
  end
end

local function has(head, flag) return string.find(head[FLAGS], flag, 1, true) ~= nil end
local function is_live(head) return not has(head, 'F') end
local function is_entity(head) return has(head, 'E') end

local function read_wait(id, number)
  local packed = call('HGET', shard .. 'w:' .. id, number)
  return packed and unpack_record(packed)
end

local function change(index, member, is_there)
  if not changes[index] then changes[index] = {} end
  changes[index][member] = is_there
end
local function add(index, member) change(index, member, true) end
local function drop(index, member) change(index, member, false) end

finish = function()
  flush(heads)
  flush(facts)
  for index, members in pairs(changes) do
    local added, dropped = {}, {}
    for member, is_there in pairs(members) do
      if is_there then
        added[#added + 1] = 0
        added[#added + 1] = member
      else
        dropped[#dropped + 1] = member
      end
    end
    in_parts('ZADD', shard .. index, added)
    in_parts('ZREM', shard .. index, dropped)
  end
  changes = {}
end

-- Add the wait of an unfinished instance to the indexes, or drop it from them.
local function index_wait(act, id, number, wait)
  local tail, state = id .. '\0' .. number, wait[STATE]
  local is_offered, is_claimed = state == 'offered', state == 'claimed'
  if wait[KIND] == 'activity' then
    act('calls', tail)
    if is_offered then
      local from = wait[DUE] > wait[SINCE] and wait[DUE] or wait[SINCE]
      act('offers', from .. tail)
      act('offers:' .. wait[NAME], from .. tail)
    elseif is_claimed then
      local till = wait[CLAIMED_UNTIL] == '' and NEVER or wait[CLAIMED_UNTIL]
      act('claims', till .. tail)
      act('claims:' .. wait[NAME], till .. tail)
    end
  end
  if wait[DUE] ~= '' and not (is_offered or is_claimed) then act('due', wait[DUE] .. tail .. wait[KIND]) end
  if state == 'queued' or state == 'admitted' then act('queue', tail) end
end

local function index_waits(act, id)
  local fields = call('HGETALL', shard .. 'w:' .. id)
  for at = 1, #fields, 2 do index_wait(act, id, fields[at], unpack_record(fields[at + 1])) end
end

local function change_wait(id, number, before, after, live)
  if live then index_wait(drop, id, number, before) end
  call('HSET', shard .. 'w:' .. id, number, pack(after))
  if live then index_wait(add, id, number, after) end
end

-- Entries of the head in the indexes of `find`: 16 digits of the place, then the index.
local function index_head(id, before, after)
  local kept = {}
  for _, entry in ipairs(after) do kept[entry] = 1 end
  for _, entry in ipairs(before) do
    if kept[entry] then kept[entry] = 2
    else drop('find:' .. string.sub(entry, 17), string.sub(entry, 1, 16) .. id) end
  end
  for entry, found in pairs(kept) do
    if found == 1 then add('find:' .. string.sub(entry, 17), string.sub(entry, 1, 16) .. id) end
  end
end

-- Whether it is unfinished, and has mail, as the head says now.
local function index_instance(id, head)
  local act = is_live(head) and add or drop
  if not is_entity(head) then act('live', id) end
  if act == add and call('HLEN', shard .. 'm:' .. id) == 0 then act = drop end
  act('mail', id)
end

local function acquit(id)
  call('HDEL', shard .. 'deaths', id)
  call('HDEL', shard .. 'accused', id)
  call('HDEL', shard .. 'accused_before', id)
end

local function erase_streams(id, below)
  local streams = shard .. 'y:' .. id
  for _, field in ipairs(call('HKEYS', streams)) do
    if not below or tonumber(string.match(field, '^%d+')) < below then
      call('UNLINK', shard .. 'i:' .. field .. ':' .. id)
      call('HDEL', streams, field)
    end
  end
end

-- Delete all rows of the instance.
local function erase(id, head)
  if is_live(head) then index_waits(drop, id) end
  local found = read_facts(id)
  index_head(id, found[ENTRIES], {})
  drop('live', id)
  drop('mail', id)
  acquit(id)
  for _, name in ipairs(found[NAMES]) do
    local held = call('HGET', shard .. 'names', name)
    if held and unpack_record(held)[1] == id then call('HDEL', shard .. 'names', name) end
  end
  erase_streams(id)
  local keys = {}
  for place, rows in ipairs({'w:', 'l:', 'm:', 's:', 'p:', 'a:', 'o:'}) do keys[place] = shard .. rows .. id end
  call('UNLINK', unpack(keys))
  delete_head(id)
end
