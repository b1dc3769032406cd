-- uses: instance
-- Waits by instance and number: {index, after instance, how many at most, whether suspended runs are left out}.
-- Answers {id, execution, generation, number, wait, ...}. It ends between two instances.

serve = function(given)
  local index, most, awake = shard .. given[1], given[3], given[4]
  local from = given[2] == '' and '-' or '[' .. given[2] .. '\1'
  local found, id, head = {}, nil, nil
  while true do
    local members = call('ZRANGEBYLEX', index, from, '+', 'LIMIT', 0, most)
    for _, member in ipairs(members) do
      local instance, number = string.sub(member, 1, -18), string.sub(member, -16)
      if instance ~= id then
        if #found >= 5 * most then return found end
        id, head = instance, read_head(instance)
      end
      if head and not (awake and has(head, 'S')) then
        local wait = call('HGET', shard .. 'w:' .. id, number)
        for _, part in ipairs({id, head[EXECUTION], head[GENERATION], number, wait}) do found[#found + 1] = part end
      end
    end
    if #members < most then return found end
    from = '(' .. members[#members]
  end
end
