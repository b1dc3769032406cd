-- Due waits: {from, to, how many at most}, bounds as ZRANGEBYLEX takes them. Answers members of the index.

serve = function(given)
  return call('ZRANGEBYLEX', shard .. 'due', given[1], given[2], 'LIMIT', 0, given[3])
end
