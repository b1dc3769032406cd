-- How every script ends: it serves each shard in turn and answers in the same order.

local arguments, answers = unpack_record(ARGV[1]), {}
if prepare then
  for number, given in ipairs(arguments) do
    shard = string.sub(KEYS[2 * number - 1], 1, -6)
    prepare(given)
  end
end
for number, given in ipairs(arguments) do
  shard = string.sub(KEYS[2 * number - 1], 1, -6)
  local kept = is_guarded and call('GET', shard .. 'kept')
  if kept then
    answers[number] = {'kept', kept}
  else
    answers[number] = serve(given)
    if finish then finish() end
  end
end
return answers
