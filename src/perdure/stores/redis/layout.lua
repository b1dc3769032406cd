-- The layout, kept in the directory: {format, oldest format whose programs may go on, format that was seen or false}
-- writes it unless another than that which was seen is there now; {} writes nothing. Answers {format or false, oldest
-- or false} of what is there then.

serve = function(given)
  local seen = call('GET', shard .. 'layout')
  if given[1] and (seen or '') == (given[3] or '') then
    call('SET', shard .. 'layout', given[1])
    call('SET', shard .. 'oldest', given[2])
  end
  return {call('GET', shard .. 'layout'), call('GET', shard .. 'oldest')}
end
