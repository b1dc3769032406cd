-- uses: instance mailbox
-- Mail without a lease: {channel, mail, ...}. Answers what became of each.

is_guarded = true
serve = function(given)
  local answers = {}
  for number = 2, #given do answers[number - 1] = deliver(given[number]) end
  if given[1] ~= '' and #given > 1 then call('PUBLISH', given[1], '') end
  return answers
end
