-- uses: instance
-- Count the rows of some instances: {index, after member, how many instances}. Answers {last member or '' for the end,
-- messages, segments, state, calls in it, ...}. 

serve = function(given)
  local from = given[2] == '' and '-' or '(' .. given[2]
  local members = call('ZRANGEBYLEX', shard .. 'find:' .. given[1], from, '+', 'LIMIT', 0, given[3])
  local messages, segments, states = 0, 0, {}
  for _, member in ipairs(members) do
    local id = string.sub(member, 17)
    messages = messages + call('HLEN', shard .. 'm:' .. id)
    segments = segments + call('LLEN', shard .. 'l:' .. id)
    local fields = call('HGETALL', shard .. 'w:' .. id)
    for at = 2, #fields, 2 do
      local wait = unpack_record(fields[at])
      if wait[KIND] == 'activity' then states[wait[STATE]] = (states[wait[STATE]] or 0) + 1 end
    end
  end
  local answer = {#members == given[3] and members[#members] or '', messages, segments}
  for state, count in pairs(states) do
    answer[#answer + 1] = state
    answer[#answer + 1] = count
  end
  return answer
end
