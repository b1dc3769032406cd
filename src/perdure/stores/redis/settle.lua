-- Whether the newest commit under a lease was that of this token: {epoch, token}. From now on no older call of its
-- holder commits anything. Answers {whether, series from now on}, or 0 if the lease is lost.

serve = function(given)
  local lease = call('HMGET', shard .. 'lease', 'epoch', 'owner', 'token')
  if tonumber(lease[1] or 0) ~= given[1] or not lease[2] then return 0 end
  return {lease[3] == given[2] and 1 or 0, call('HINCRBY', shard .. 'lease', 'series', 1)}
end
