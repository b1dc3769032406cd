-- uses: instance
-- Instances that nothing would wake: {after instance, how many at most, how many to look at}. Answers {id looked at
-- last or '' for the end, id, ...}.

local ANSWERABLE = {activity = true, child = true, timer = true}
local OPEN = {held = true, queued = true, admitted = true, offered = true, claimed = true}
local TIMED = {timer = true, start = true, timeout = true}
local FOREIGN = {event = true, entity = true, queue = true}

local function is_endless(wait, has_mail)
  local kind, state = wait[KIND], wait[STATE]
  if ANSWERABLE[kind] and state == 'answered' then return not has_mail end
  if kind == 'activity' then return not OPEN[state] end
  if kind == 'child' then return wait[ON] == '' end
  if TIMED[kind] then return wait[DUE] == '' and state ~= 'queued' end
  return not FOREIGN[kind]
end

local function is_stranded(id)
  local head = read_head(id)
  if not head or has(head, 'S') or has(head, 'T') then return false end
  local has_mail = call('EXISTS', shard .. 'm:' .. id) == 1
  local fields = call('HGETALL', shard .. 'w:' .. id)
  for at = 2, #fields, 2 do
    if is_endless(unpack_record(fields[at]), has_mail) then return true end
  end
  return #fields == 0 and not has_mail
end

serve = function(given)
  local from = given[1] == '' and '-' or '(' .. given[1]
  local answer = {''}
  local ids = call('ZRANGEBYLEX', shard .. 'live', from, '+', 'LIMIT', 0, given[3])
  for _, id in ipairs(ids) do
    if is_stranded(id) then answer[#answer + 1] = id end
    if #answer > given[2] then
      answer[1] = id
      return answer
    end
  end
  if #ids == given[3] then answer[1] = ids[#ids] end
  return answer
end
