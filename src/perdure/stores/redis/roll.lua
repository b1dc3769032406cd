-- uses: instance
-- Which instances there are: {cursor, about how many}. Answers {next cursor, id, head, ...}, in no order; one may come
-- twice.

serve = function(given)
  local found = call('HSCAN', shard .. 'heads', given[1], 'COUNT', given[2])
  table.insert(found[2], 1, found[1])
  return found[2]
end
