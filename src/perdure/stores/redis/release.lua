-- Give the shard back, and end the life on it: {epoch}.

serve = function(given)
  local epoch = tostring(given[1])
  if call('HGET', shard .. 'lease', 'epoch') == epoch then call('HDEL', shard .. 'lease', 'owner', 'until') end
  if call('HGET', shard .. 'lease', 'life') == epoch then
    call('HDEL', shard .. 'lease', 'life')
    call('DEL', shard .. 'deaths', shard .. 'accused', shard .. 'accused_before')
  end
  return 1
end
