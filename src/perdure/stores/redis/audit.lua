-- The audit log of an app, whose keys are served instead of a shard's: {'add', number of the last entry, the new last
-- one's digest, entry, ...}, {'head'} or {'page', after, limit}. Answers 1 or 0, {number, digest}, or {entry, ...}.
--
--   audit        list      entries by number
--   audit_head   hash      number and digest of the last one, kept apart

serve = function(given)
  local entries, head = shard .. 'audit', shard .. 'audit_head'
  local last = call('HMGET', head, 'number', 'digest')
  if given[1] == 'head' then return {last[1] or '0', last[2] or ''} end
  if given[1] == 'page' then return call('LRANGE', entries, given[2], given[2] + given[3] - 1) end
  if tonumber(last[1] or 0) ~= given[2] then return 0 end
  for place = 4, #given do call('RPUSH', entries, given[place]) end
  call('HSET', head, 'number', given[2] + #given - 3, 'digest', given[3])
  return 1
end
