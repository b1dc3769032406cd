-- uses: instance mailbox
-- Insert whole instances while the shard is kept as its caller knows: {what is there, {id, {head, facts}, parent's call,
-- segments, waits, mail, seen, published, streams, claims}, ...}. Answers for each 1, or 0 if another execution has its
-- id; or {'kept', what is there}.

local function insert(id, head, found, parts)
  found[PARENT_CALL], found[NAMES] = parts[3], {}
  in_parts('RPUSH', shard .. 'l:' .. id, parts[4])
  for _, wait in ipairs(parts[5]) do
    call('HSET', shard .. 'w:' .. id, wait[1], pack(wait[2]))
    if is_live(head) then index_wait(add, id, wait[1], wait[2]) end
  end
  for _, mail in ipairs(parts[6]) do call('HSET', shard .. 'm:' .. id, mail[2], arrived() .. mail[4]) end
  for _, key in ipairs(parts[7]) do call('ZADD', shard .. 's:' .. id, arrive(), key) end
  for _, one in ipairs(parts[8]) do
    if one[3] then call('ZADD', shard .. 'o:' .. id, arrive(), one[1]) end
    call('HSET', shard .. (one[3] and 'a:' or 'p:') .. id, one[1], one[2])
  end
  for _, stream in ipairs(parts[9]) do
    call('HSET', shard .. 'y:' .. id, stream[1], stream[2])
    in_parts('RPUSH', shard .. 'i:' .. stream[1] .. ':' .. id, stream[3])
  end
  for _, claim in ipairs(parts[10]) do
    if call('HSETNX', shard .. 'names', claim[1], pack({id, claim[2]})) == 1 then
      table.insert(found[NAMES], claim[1])
    end
  end
  write_head(id, head)
  write_facts(id, found)
  index_head(id, {}, found[ENTRIES])
  index_instance(id, head)
end

serve = function(given)
  local there = call('GET', shard .. 'kept') or ''
  if there ~= given[1] then return {'kept', there} end
  local answers = {}
  for number = 2, #given do
    local parts = given[number]
    local before = read_head(parts[1])
    answers[number - 1] = (before and before[EXECUTION] ~= parts[2][1][EXECUTION]) and 0 or 1
    if not before then insert(parts[1], parts[2][1], parts[2][2], parts) end
  end
  return answers
end
