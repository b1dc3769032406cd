-- uses: instance
-- Delete instances of the execution named: {what the shard is kept for, {id, execution}, ...}. Answers {}, or {'kept',
-- what is there}.

serve = function(given)
  local there = call('GET', shard .. 'kept') or ''
  if there ~= given[1] then return {'kept', there} end
  for number = 2, #given do
    local id, execution = unpack(given[number])
    local head = read_head(id)
    if head and head[EXECUTION] == execution then erase(id, head) end
  end
  return {}
end
