-- The format of the values here, which the first who asks sets: {format of the asker}.

serve = function(given)
  call('SET', shard .. 'format', given[1], 'NX')
  return call('GET', shard .. 'format')
end
