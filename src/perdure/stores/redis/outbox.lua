-- What waits to be sent to other shards: {letters, bytes at most for each}. Answers {shard, numbers, records, whether
-- there is more} of each, in the order of the numbers.

serve = function(given)
  local found = {}
  for _, receiver in ipairs(call('SMEMBERS', shard .. 'out')) do
    local waiting, from, size = shard .. 'out:' .. receiver, '-', 0
    local numbers, records, more = {}, {}, 0
    while #numbers < given[1] do
      local member = call('ZRANGEBYLEX', waiting, from, '+', 'LIMIT', 0, 1)[1]
      size = size + (member and #member or 0)
      if not member or (size > given[2] and #numbers > 0) then break end
      numbers[#numbers + 1], records[#records + 1] = string.sub(member, 1, 16), string.sub(member, 17)
      from = '(' .. member
    end
    if call('ZCARD', waiting) > #numbers then more = 1 end
    found[#found + 1] = {receiver, numbers, records, more}
  end
  return found
end
