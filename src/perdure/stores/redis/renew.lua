-- uses: instance
-- Let a pending instance begin otherwise: {id, execution, sequence, at, channel, mail, number of a wait, wait}.

is_guarded = true
serve = function(given)
  local id = given[1]
  local head = read_head(id)
  if not head or not has(head, 'P') or head[EXECUTION] ~= given[2] or head[SEQUENCE] ~= given[3] then return 0 end
  head[SEQUENCE], head[UPDATED] = string.format('%.0f', given[3] + 1), given[4]
  write_head(id, head)
  local box, mail = shard .. 'm:' .. id, given[6]
  local there = call('HGET', box, mail[2])
  if there then call('HSET', box, mail[2], string.sub(there, 1, 16) .. mail[4]) end
  local before = read_wait(id, given[7])
  if before then change_wait(id, given[7], before, given[8], is_live(head)) end
  if given[5] ~= '' then call('PUBLISH', given[5], '') end
  return 1
end
