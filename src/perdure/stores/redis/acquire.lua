-- uses: instance
-- Take the shard if it is free: {owner, at or false, seconds, epoch known, whether to take}. Answers {epoch, until,
-- series} of who asked (see commit), {'back', epoch} if the store is older than what is known, 'free', or 'held' if it
-- is another's.

local IN_FLIGHT = {held = true, admitted = true}

-- Whether an owner that looks at the instance has something to run.
local function could_run(id, at)
  local head = read_head(id)
  if not head or not is_live(head) then return false end
  local starts_later = false
  local fields = call('HGETALL', shard .. 'w:' .. id)
  for place = 2, #fields, 2 do
    local wait = unpack_record(fields[place])
    local due, state = wait[DUE], wait[STATE]
    if wait[KIND] == 'activity' then
      if IN_FLIGHT[state] and not has(head, 'S') and (due == '' or due <= at) then return true end
    elseif state ~= 'queued' and due ~= '' and due <= at then
      return true
    end
    if wait[KIND] == 'start' and (state == 'queued' or (due ~= '' and due > at)) then starts_later = true end
  end
  return not starts_later and call('EXISTS', shard .. 'm:' .. id) == 1
end

local function running(at)
  local asked, found = {}, {}
  local function ask(id)
    if asked[id] == nil then
      asked[id] = could_run(id, at)
      if asked[id] then found[#found + 1] = id end
    end
  end
  for _, member in ipairs(call('ZRANGE', shard .. 'calls', 0, -1)) do ask(string.sub(member, 1, -18)) end
  for _, member in ipairs(call('ZRANGEBYLEX', shard .. 'due', '-', '[' .. at .. string.char(255))) do
    ask(string.match(string.sub(member, 17), '^(.*)%z'))
  end
  for _, id in ipairs(call('ZRANGE', shard .. 'mail', 0, -1)) do ask(id) end
  return found, asked
end

-- Count a death for each that could have been running, if the life before has not ended in good order.
local function begin_life(epoch, at)
  if call('HGET', shard .. 'lease', 'life') then
    if call('EXISTS', shard .. 'accused') == 1 then call('RENAME', shard .. 'accused', shard .. 'accused_before') end
    local found, could = running(at)
    for _, id in ipairs(call('HKEYS', shard .. 'deaths')) do
      if not could[id] then acquit(id) end
    end
    for _, id in ipairs(found) do call('HINCRBY', shard .. 'deaths', id, 1) end
  end
  call('HSET', shard .. 'lease', 'life', epoch)
end

is_guarded = true
serve = function(given)
  local owner, at, seconds, known, takes = unpack(given)
  local lease = call('HMGET', shard .. 'lease', 'epoch', 'owner', 'until', 'series')
  local epoch = tonumber(lease[1] or 0)
  if epoch < known then return {'back', epoch} end
  if not lease[2] or tonumber(lease[3]) <= now then
    if not takes then return 'free' end
    epoch = epoch + 1
    lease[2], lease[3] = owner, string.format('%.0f', now + seconds * 1000000)
    call('HSET', shard .. 'lease', 'epoch', epoch, 'owner', owner, 'until', lease[3])
    if at then begin_life(epoch, at) end
  end
  if lease[2] ~= owner then return 'held' end
  return {epoch, lease[3], lease[4] or '0'}
end
