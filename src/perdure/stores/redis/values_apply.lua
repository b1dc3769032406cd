-- Write and remove values, all or none: {{kind, key, value, etag, content type or '', milliseconds or 0, etag that has
-- to be there}, ...}, kinds as in stores/values/plan.py. Answers 0, or the number of the step that was refused.

serve = function(given)
  local after = {}  -- the etags of keys as the steps before leave them, false for nothing
  for number, step in ipairs(given) do
    local kind, key, etag, expected = step[1], step[2], step[4], step[7]
    local there = after[key]
    if there == nil then there = call('HGET', shard .. 'value:' .. key, 'etag') end
    if kind == 'put_first' and there then return number end
    if (kind == 'put_over' or kind == 'delete_of') and there ~= expected then return number end
    after[key] = string.sub(kind, 1, 3) == 'put' and etag
  end
  for _, step in ipairs(given) do
    local at = shard .. 'value:' .. step[2]
    call('DEL', at)
    if string.sub(step[1], 1, 3) == 'put' then
      call('HSET', at, 'value', step[3], 'etag', step[4], 'type', step[5])
      if step[6] > 0 then call('PEXPIRE', at, step[6]) end
    end
  end
  return 0
end
