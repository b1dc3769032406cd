-- Who lives of an app, whose keys are served instead of a shard's: {seconds, owner who beats, its record}, or {0}, or
-- {-1, owner who leaves}, or {-2, owner who tells of itself, what it tells}. A record stands behind the time until when
-- it counts. Answers {{owner, record, ...}, {owner, what it told, ...}}, the latter if nothing else was asked.

serve = function(given)
  local members, abouts = shard .. 'members', shard .. 'abouts'
  local function forget(owner)
    call('HDEL', members, owner)
    call('HDEL', abouts, owner)
  end
  if given[1] > 0 then call('HSET', members, given[2], hex(now + given[1] * 1000000) .. given[3]) end
  if given[1] == -1 then forget(given[2]) end
  local found, fields = {}, call('HGETALL', members)
  for at = 1, #fields, 2 do
    if string.sub(fields[at + 1], 1, 16) <= hex(now) then
      if given[1] ~= 0 then forget(fields[at]) end
    else
      found[#found + 1] = fields[at]
      found[#found + 1] = fields[at + 1]
    end
  end
  if given[1] == -2 and call('HEXISTS', members, given[2]) == 1 then call('HSET', abouts, given[2], given[3]) end
  return {found, given[1] == 0 and call('HGETALL', abouts) or {}}
end
