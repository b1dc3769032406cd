-- How many entries indexes of `find` have: {index, ...}.

serve = function(given)
  local answers = {}
  for number, index in ipairs(given) do answers[number] = call('ZCARD', shard .. 'find:' .. index) end
  return answers
end
