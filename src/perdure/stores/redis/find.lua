-- Members of the indexes of `find`: {newest first, how many at most, {index, from, to}, ...}. Answers a list for each.

serve = function(given)
  local answers = {}
  for number = 3, #given do
    local index, low, high = shard .. 'find:' .. given[number][1], given[number][2], given[number][3]
    if given[1] then
      answers[number - 2] = call('ZREVRANGEBYLEX', index, high, low, 'LIMIT', 0, given[2])
    else
      answers[number - 2] = call('ZRANGEBYLEX', index, low, high, 'LIMIT', 0, given[2])
    end
  end
  return answers
end
