-- uses: instance
-- How much there is to do by a time: {time, how much of an index is looked at}; of a longer one the rest is taken to be
-- like it. Answers {unfinished, offered, since when the first of them waits or '', claimed, instances that have a turn
-- to take, since when or '', calls that their owner has to see to}.

local heads = {}
local function moves(id)
  if heads[id] == nil then
    local head = read_head(id)
    heads[id] = head and not has(head, 'S') and not has(head, 'T') or false
  end
  return heads[id]
end

-- How many entries of the index, up to a bound, pass the test.
local function count(index, high, most, passes)
  local members = call('ZRANGEBYLEX', shard .. index, '-', high, 'LIMIT', 0, most)
  local found = 0
  for _, member in ipairs(members) do if passes(member) then found = found + 1 end end
  if #members < most then return found end
  return math.floor(found * call('ZLEXCOUNT', shard .. index, '-', high) / #members)
end

-- Since when the instance has a turn to take, or nothing.
local function ready_since(id, till)
  local oldest, starts_later = nil, false
  local fields = call('HGETALL', shard .. 'w:' .. id)
  for at = 2, #fields, 2 do
    local wait = unpack_record(fields[at])
    local state, due = wait[STATE], wait[DUE]
    local is_out = state == 'offered' or state == 'claimed'
    if wait[KIND] ~= 'activity' and due ~= '' and due <= till and not is_out and state ~= 'queued' then
      if not oldest or due < oldest then oldest = due end
    end
    if wait[KIND] == 'start' and (state == 'queued' or (due ~= '' and due > till)) then starts_later = true end
  end
  if starts_later then return oldest end
  for _, record in ipairs(call('HVALS', shard .. 'm:' .. id)) do
    local at = string.sub(record, 17, 32)
    if not oldest or at < oldest then oldest = at end
  end
  return oldest
end

local function wait_of(member) return read_wait(string.sub(member, 1, -18), string.sub(member, -16)) end

serve = function(given)
  local till, most = given[1], given[2]
  heads = {}
  local first, asked = '', {}
  local function is_ready(id)
    if asked[id] then return false end
    asked[id] = true
    local since = moves(id) and ready_since(id, till)
    if not since then return false end
    if first == '' or since < first then first = since end
    return true
  end
  local ready = count('mail', '+', most, is_ready)
    + count('due', '[' .. till .. string.char(255), most, function(member)
      return is_ready(string.match(string.sub(member, 17), '^(.*)%z'))
    end)
  local function is_due(member, states)
    if not moves(string.sub(member, 1, -18)) then return false end
    local wait = wait_of(member)
    return wait and states[wait[STATE]] and (wait[DUE] == '' or wait[DUE] <= till)
  end
  local calls = count('calls', '+', most, function(member) return is_due(member, {held = true, admitted = true}) end)
    + count('queue', '+', most, function(member) return is_due(member, {queued = true}) end)
  local oldest, offer = '', call('ZRANGE', shard .. 'offers', 0, 0)[1]
  if offer then
    local wait = wait_of(string.sub(offer, 17))
    oldest = wait and wait[SINCE] or ''
  end
  local unfinished, offered = call('ZCARD', shard .. 'live'), call('ZCARD', shard .. 'offers')
  return {unfinished, offered, oldest, call('ZCARD', shard .. 'claims'), ready, first, calls}
end
