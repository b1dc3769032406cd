-- uses: instance mailbox
-- Count these permits in place of others of their queues: {what the shard is kept for, {queue, until, at}, ...}.
-- Answers {}, or {'kept', what is there}.

serve = function(given)
  local there = call('GET', shard .. 'kept') or ''
  if there ~= given[1] then return {'kept', there} end
  for number = 2, #given do call('DEL', shard .. 'permits:' .. given[number][1]) end
  for number = 2, #given do
    local queue, till, at = unpack(given[number])
    call('SADD', shard .. 'queues', queue)
    add('permits:' .. queue, till .. at .. arrived())
  end
  return {}
end
