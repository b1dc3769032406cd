-- Suspects: {which, epoch, id, place}, {which, epoch, {id, ...}}, or {which}. Answers {deaths, accused} as fields and
-- values for 'list', else 0 if the lease is lost.
-- uses: instance

serve = function(given)
  if given[1] == 'list' then return {call('HGETALL', shard .. 'deaths'), call('HGETALL', shard .. 'accused_before')} end
  local lease = call('HMGET', shard .. 'lease', 'epoch', 'owner')
  if tonumber(lease[1] or 0) ~= given[2] or not lease[2] then return 0 end
  if given[1] == 'accuse' then
    if call('HEXISTS', shard .. 'deaths', given[3]) == 1 then call('HSET', shard .. 'accused', given[3], given[4]) end
  else
    for _, id in ipairs(given[3]) do acquit(id) end
  end
  return 1
end
