-- uses: instance mailbox
-- Create instances without a lease: {channel, {creation, at of its mail}, ...}.
-- Answers for each '' if it was created, 'taken', or {id, head, facts} of who holds what it claims.

local function holder(creation, at)
  local claim = creation[CLAIM]
  local held = claim and call('HGET', shard .. 'names', claim[1])
  if not held then return nil end
  local id, till = unpack(unpack_record(held))
  local head = read_head(id)
  if not head or head[EXECUTION] == creation[START][1][EXECUTION] then return nil end
  local holds
  if claim[3] then holds = has(head, 'P') else holds = at < till end
  return holds and {id, pack(head), pack(read_facts(id))} or nil
end

local function claim(creation)
  local name, till = unpack(creation[CLAIM])
  local id = creation[ID]
  call('HSET', shard .. 'names', name, pack({id, till}))
  local found = read_facts(id)
  table.insert(found[NAMES], name)
  write_facts(id, found)
end

is_guarded = true
serve = function(given)
  local answers = {}
  for number = 2, #given do
    local creation, at = given[number][1], given[number][2]
    local answer = holder(creation, at)
    if not answer then
      if not create(creation) then
        answer = 'taken'
      else
        answer = ''
        if creation[CLAIM] then claim(creation) end
      end
    end
    answers[number - 1] = answer
  end
  if given[1] ~= '' then call('PUBLISH', given[1], '') end
  return answers
end
