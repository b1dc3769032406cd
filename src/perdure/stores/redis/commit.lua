-- uses: instance mailbox notice
-- The turns and appends of one lease, all or none. {epoch, token, turns, appends, shard id, offers' channel,
-- series}.
--
-- A turn is {id, execution, generation, sequence expected or false, at, effects}.
-- Answers {'back', epoch} if the store is older than the lease, else {outcomes of turns, of appends, first number in
-- the outbox, whether refusals went there}; of a fenced one only {'fenced'}.
--
-- The series of a lease goes up whenever its holder asks what became of a commit, so that one which still lies in a
-- broken connection then cannot happen any more.

local EPOCH, TOKEN, TURNS, APPENDS, HERE, CHANNEL, SERIES = 1, 2, 3, 4, 5, 6, 7
local HEAD, SEGMENT, CLOSED, CHANGED, OPENED, CONSUMED, SEEN, PUBLISHED, PERMITS, ERASE, CREATED, SENT, NOTICES =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

local is_older, leases = false, {}
prepare = function(given)
  local lease = call('HMGET', shard .. 'lease', 'epoch', 'owner', 'series')
  leases[shard] = lease
  if tonumber(lease[1] or 0) < given[EPOCH] then is_older = true end
end

local function append(given)
  local id, execution, generation, number, attempt, after = given[1], given[2], given[3], given[4], given[5], given[6]
  local head = read_head(id)
  if not head or not is_live(head) or head[EXECUTION] ~= execution or head[GENERATION] ~= generation then
    return 'conflict'
  end
  local wait = read_wait(id, number)
  if not wait or wait[KIND] ~= 'activity' or wait[ATTEMPT] ~= attempt then return 'conflict' end
  local stream = generation .. ':' .. given[7]
  local items = shard .. 'i:' .. stream .. ':' .. id
  if call('LLEN', items) ~= after then return 'conflict' end
  for _, item in ipairs(given[8]) do call('RPUSH', items, item) end
  call('HSET', shard .. 'y:' .. id, stream, wait[NAME])
  return 'committed'
end

-- What a later version keeps behind the fields that this one knows stays as it is.
local function keep_rest(before, after)
  for place = #after + 1, #before do after[place] = before[place] end
end

local offered = false
local function change_waits(id, effects, was_live, live)
  local waits = shard .. 'w:' .. id
  if was_live then
    in_parts('HMGET', waits, effects[CLOSED], function(place, packed)
      if packed then index_wait(drop, id, effects[CLOSED][place], unpack_record(packed)) end
    end)
  end
  in_parts('HDEL', waits, effects[CLOSED])
  for _, change in ipairs(effects[CHANGED]) do
    local before = read_wait(id, change[1])
    if before then
      if was_live then index_wait(drop, id, change[1], before) end
      keep_rest(before, change[2])
      call('HSET', waits, change[1], pack(change[2]))
      if was_live then index_wait(add, id, change[1], change[2]) end
      offered = offered or change[2][STATE] == 'offered'
    end
  end
  local fields = {}
  for _, opened in ipairs(effects[OPENED]) do
    fields[#fields + 1] = opened[1]
    fields[#fields + 1] = pack(opened[2])
    if was_live then index_wait(add, id, opened[1], opened[2]) end
    offered = offered or opened[2][STATE] == 'offered'
  end
  in_parts('HSET', waits, fields)
  if was_live ~= live then index_waits(live and add or drop, id) end
end

local function remember(id, effects)
  if #effects[SEEN] > 0 then
    local seen = shard .. 's:' .. id
    for _, key in ipairs(effects[SEEN]) do call('ZADD', seen, 'NX', arrive(), key) end
    call('ZREMRANGEBYRANK', seen, 0, -SEEN_MAX - 1)
  end
  for _, one in ipairs(effects[PUBLISHED]) do
    if one[3] then
      call('ZADD', shard .. 'o:' .. id, 'NX', arrive(), one[1])
      call('HSET', shard .. 'a:' .. id, one[1], one[2])
    else
      call('HSET', shard .. 'p:' .. id, one[1], one[2])
    end
  end
  if #effects[PUBLISHED] > 0 then
    for _, name in ipairs(call('ZRANGE', shard .. 'o:' .. id, 0, -ANSWERS_MAX - 1)) do
      call('HDEL', shard .. 'a:' .. id, name)
      call('ZREM', shard .. 'o:' .. id, name)
    end
  end
end

local function keep_permits(permits, at)
  for _, permit in ipairs(permits) do
    call('ZREMRANGEBYLEX', shard .. 'permits:' .. permit[1], '-', '[' .. at .. 'g')
  end
  for _, permit in ipairs(permits) do
    call('SADD', shard .. 'queues', permit[1])
    add('permits:' .. permit[1], permit[2] .. permit[3] .. arrived())
  end
end

local function take(given)
  local id, expected, at, effects = given[1], given[4], given[5], given[6]
  local before = read_head(id)
  local was_live, head = true, effects[HEAD] and effects[HEAD][1]
  if not expected then
    if before and (is_live(before) or before[EXECUTION] == given[2]) then return 'exists' end
    if before then erase(id, before) end
    before = nil
    effects[HEAD][2][PARENT_CALL], effects[HEAD][2][NAMES] = '', {}
  else
    if not before or before[EXECUTION] ~= given[2] or before[GENERATION] ~= given[3] then return 'conflict' end
    if before[SEQUENCE] ~= expected then return 'conflict' end
    was_live = is_live(before)
    if effects[ERASE] then
      if was_live then index_waits(drop, id) end
      call('UNLINK', shard .. 'l:' .. id, shard .. 'w:' .. id)
      erase_streams(id, tonumber(given[3]))
    end
  end
  if effects[HEAD] then
    local known, found = before and read_facts(id), effects[HEAD][2]
    if before then keep_rest(before, head) end
    if known then
      found[PARENT_CALL], found[NAMES] = known[PARENT_CALL], known[NAMES]
      keep_rest(known, found)
    end
    index_head(id, known and known[ENTRIES] or {}, found[ENTRIES])
    write_facts(id, found)
  else
    head = before
    head[SEQUENCE], head[UPDATED] = string.format('%.0f', expected + 1), at
  end
  write_head(id, head)
  if effects[SEGMENT] then call('RPUSH', shard .. 'l:' .. id, effects[SEGMENT]) end
  local live = is_live(head)
  if not before then was_live = live end
  change_waits(id, effects, was_live, live)
  in_parts('HDEL', shard .. 'm:' .. id, effects[CONSUMED])
  if not before or was_live ~= live or #effects[CONSUMED] > 0 then index_instance(id, head) end
  remember(id, effects)
  if #effects[PERMITS] > 0 then keep_permits(effects[PERMITS], at) end
  for _, notice in ipairs(effects[NOTICES] or {}) do post_notice(notice[1], notice[2]) end
  return 'committed'
end

serve = function(given)
  local lease = leases[shard]
  if is_older then return {'back', lease[1] or '0'} end
  if tonumber(lease[1] or 0) ~= given[EPOCH] or not lease[2] then return {'fenced'} end
  if tonumber(lease[3] or 0) ~= given[SERIES] then return {'fenced'} end
  call('HSET', shard .. 'lease', 'token', given[TOKEN])
  has_refused, offered = false, false
  local ids, with_head = {}, {}
  for place, turn in ipairs(given[TURNS]) do
    ids[place] = turn[1]
    if turn[4] and turn[6][HEAD] then with_head[#with_head + 1] = turn[1] end
  end
  read_all(heads, ids)
  read_all(facts, with_head)
  local outcomes, appended = {}, {}
  for number, one in ipairs(given[APPENDS]) do appended[number] = append(one) end
  for number, turn in ipairs(given[TURNS]) do outcomes[number] = take(turn) end
  for _, part in ipairs({CREATED, SENT}) do
    for number, turn in ipairs(given[TURNS]) do
      if outcomes[number] == 'committed' then
        for _, one in ipairs(turn[6][part]) do
          if one[1] ~= given[HERE] then
            send(one[1], pack({one[2]}))
          elseif part == CREATED then
            create_or_refuse(one[2], given[HERE])
          else
            deliver(one[2])
          end
        end
      end
    end
  end
  local first = post()
  if offered then call('PUBLISH', given[CHANNEL], '') end
  return {outcomes, appended, first or '', has_refused and 1 or 0}
end
